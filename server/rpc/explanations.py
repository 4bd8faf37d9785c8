"""Explanations as protobuf."""

import dataclasses

from explain.explanation import ClassMap, Excitation
from server.explaining.explainer import Explained
from server.pb.sesame.v1 import classifier_pb2 as pb
from server.rpc import messages


def explain_response(request_id: str, explained: Explained) -> pb.ExplainResponse:
    explanation = explained.explanation
    return pb.ExplainResponse(
        classified=messages.response(request_id, explained.classified),
        explained=messages.prediction(explanation.explained),
        map=_map(explanation.map) if explanation.map else None,
        overlay_png=explanation.overlay_png or b"",
        excitations=[_excitation(block) for block in explanation.excitations],
        explain_ms=explained.explain_ms,
    )


def _map(of: ClassMap) -> pb.ClassMap:
    return pb.ClassMap(
        rows=len(of.values),
        columns=len(of.values[0]),
        values=[value for row in of.values for value in row],
        region=pb.Region(**dataclasses.asdict(of.region)),
    )


def _excitation(block: Excitation) -> pb.Excitation:
    return pb.Excitation(
        block=block.block,
        channels=block.channels,
        mean=block.mean,
        deviation=block.deviation,
        quantiles=block.quantiles,
        strongest=[pb.StrongChannel(channel=strong.channel, gate=strong.gate) for strong in block.strongest],
        gates=block.gates or (),
    )
