"""Writes the fields of manifests that KServe's own Python models do not have, as a JSON list of paths.

Reads a JSON list of manifests from standard input. The models are generated from KServe's API, and name the JSON key
and the type of each field.
"""

import json
import re
import sys
from typing import Any

import kserve.models
import kubernetes.client.models

KINDS = {"ClusterServingRuntime": "V1alpha1ClusterServingRuntime", "InferenceService": "V1beta1InferenceService"}


def unknown(type_name: str, value: Any, path: str) -> list[str]:
    """The paths below `path` that the type does not have; a value of another shape than the type's is one too."""
    if item := re.fullmatch(r"list\[(.+)\]", type_name):
        if not isinstance(value, list):
            return [path]
        return [each for number, one in enumerate(value) for each in unknown(item[1], one, f"{path}[{number}]")]
    model = getattr(kserve.models, type_name, None) or getattr(kubernetes.client.models, type_name, None)
    if model is None:
        return [] if _fits(type_name, value) else [path]
    if not isinstance(value, dict):
        return [path]
    types = {key: model.openapi_types[name] for name, key in model.attribute_map.items()}
    return [
        each
        for key, one in value.items()
        for each in (unknown(types[key], one, f"{path}.{key}") if key in types else [f"{path}.{key}"])
    ]


def _fits(type_name: str, value: Any) -> bool:
    """Whether it is of a type that is no model; those that are not listed may be anything."""
    kinds = {"str": str, "int": int, "bool": bool}
    return isinstance(value, kinds.get(type_name, dict if type_name.startswith("dict") else object))


if __name__ == "__main__":
    found = [unknown(KINDS[each["kind"]], each, each["kind"]) for each in json.load(sys.stdin)]
    print(json.dumps([path for paths in found for path in paths]))
