"""Seeds: small photos of every accepted kind, and the requests that they are sent in."""

import base64
import io
import json
from typing import Any

import numpy as np
from PIL import Image

from server.openinference.tensors import from_elements
from server.pb.inference import grpc_service_pb2 as inference
from server.pb.sesame.v1 import classifier_pb2 as pb
from tests.attacks.fuzzing.mutations import Mutator
from tests.attacks.wire.http1 import head, post

CLASSIFY, INFER = "/sesame.v1.ImageClassifier/Classify", "/inference.GRPCInferenceService/ModelInfer"
_ODD: tuple[Any, ...] = ("", "x", 7, None, [], [1], [-1, 1], [10**30], [1, 64, 64, 3], "\ud800", {"a": []})
_ODD_FIELDS: dict[str, tuple[Any, ...]] = {
    "name": ("", "x"),
    "datatype": ("", "FP32"),
    "shape": ([], [1], [0], [-1, 1], [2**62, 64, 64, 3]),
}
"""What a message can carry in these fields."""
_FORM = "multipart/form-data; boundary=Bx"
_HEADERS = ("X-Request-Timeout-Ms", "X-Request-Id", "Content-Type", "Accept", "Expect", "Upgrade", "Transfer-Encoding")
_TARGETS = (
    "/classify",
    "/models/demo",
    "/models/demo/labels",
    "/readyz",
    "/",
    "/page/app.js",
    "/docs",
    "/metrics",
    "/admin/models/demo/load",
    "/v2",
    "/v2/models/demo/config",
    "/v2/models/demo/versions/1/ready",
    "/v2/repository/index",
    "/v2/systemsharedmemory/region/a/register",
)
_LENGTH = "Inference-Header-Content-Length"
_PIXELS = bytes(range(64)) * 192  # one picture of the demo's size


def photos() -> list[bytes]:
    """JPEG, PNG and WebP in the modes that each has, 32 to 64 pixels wide."""
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((48, 40))
    sixteen = Image.fromarray((np.asarray(picture)[..., 0].astype(np.uint16) * 257).astype("<u2"))
    return [
        _encoded(picture, "JPEG"),
        _encoded(picture, "JPEG", progressive=True, exif=exif),
        _encoded(picture.convert("L"), "JPEG"),
        _encoded(picture.convert("CMYK"), "JPEG"),
        _encoded(picture, "PNG", exif=exif),
        _encoded(picture.quantize(16), "PNG", transparency=bytes(range(0, 256, 16))),
        _encoded(picture.convert("LA"), "PNG"),
        _encoded(sixteen, "PNG"),
        _encoded(picture.convert("1"), "PNG"),
        _encoded(picture, "WEBP", exif=exif),
        _encoded(picture.convert("RGBA"), "WEBP", lossless=True),
    ]


def _encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


class Requests:
    """Requests of both faces, without end. REST's are (bytes, whether they are one well-framed request)."""

    def __init__(self, seed: int) -> None:
        self._mutator = Mutator(seed)
        self._random = self._mutator.random
        self._photos = photos()

    def rest(self) -> tuple[bytes, bool]:
        chance = self._random.random()
        if chance < 0.4:
            return self._posted(self._photo(), "image/jpeg"), True
        if chance < 0.6:
            return self._inference(), True
        if chance < 0.72:
            return self._posted(self._mutated(self._form()), _FORM), True
        if chance < 0.86:
            return self._posted(self._mutated(self._json()), "application/json"), True
        if chance < 0.96:
            return self._odd_head(), True
        return self._mutated(self._posted(self._any(), "image/jpeg")), False

    def rpc(self) -> tuple[str, bytes]:
        """A method, and its request or what is nearly one."""
        if self._random.random() < 0.4:
            return INFER, self._tensors()
        return CLASSIFY, self._classify()

    def _classify(self) -> bytes:
        chance = self._random.random()
        message = pb.ClassifyRequest(image=self._photo() if chance < 0.8 else self._any())
        if chance > 0.6:
            message.model = self._random.choice(("", "demo", "démo", "\x00" * 9, "a" * 5000))
            message.version = self._random.choice(("", "1", "-1", "9" * 400))
            message.top_k = self._random.choice((0, 1, 200, 201, 2**32 - 1))
            message.id = self._random.choice(("", "x" * 10_000, "\n"))
            message.priority = self._random.choice((0, 1, 2, -1))  # type: ignore[assignment]
        return self._mutated(message.SerializeToString()) if chance > 0.75 else message.SerializeToString()

    def _tensors(self) -> bytes:
        """A ModelInferRequest, or what is nearly one."""
        tensor, content = self._tensor()
        tensor = {name: self._random.choice(_ODD_FIELDS[name]) if odd in _ODD else odd for name, odd in tensor.items()}
        message = inference.ModelInferRequest(model_name="demo", raw_input_contents=[content])
        given = message.inputs.add(name=tensor["name"], datatype=tensor["datatype"], shape=tensor["shape"])
        chance = self._random.random()
        if chance > 0.7:
            given.parameters["shared_memory_region"].string_param = "a"
        if chance > 0.5:
            message.parameters["timeout"].int64_param = self._random.choice((0, 1, 10**6, -1, 2**62))
            message.parameters["priority"].uint64_param = self._random.choice((0, 1, 2, 2**63))
        return self._mutated(message.SerializeToString()) if chance > 0.4 else message.SerializeToString()

    def _tensor(self) -> tuple[dict[str, Any], bytes]:
        """The head of an input of the Open Inference Protocol, and its content; they may not fit."""
        if self._random.random() < 0.5:
            count = self._random.randint(1, 3)
            content = from_elements(self._photo() for _ in range(count))
            head = {"name": "image", "datatype": "BYTES", "shape": [count, 1]}
        else:
            content, head = _PIXELS, {"name": "pixels", "datatype": "UINT8", "shape": [1, 64, 64, 3]}
        if self._random.random() < 0.2:
            head[self._random.choice(("name", "datatype", "shape"))] = self._random.choice(_ODD)
        return head, self._mutated(content) if self._random.random() < 0.2 else content

    def _inference(self) -> bytes:
        """`POST …/infer`: JSON, or JSON and binary, either of which may be broken."""
        tensor, content = self._tensor()
        chance = self._random.random()
        if chance < 0.3:
            text = json.dumps({"inputs": [{**tensor, "data": [base64.b64encode(self._any()).decode()]}]}).encode()
            return self._posted_to_infer(self._mutated(text))
        wanted = {
            "name": "probabilities",
            "parameters": {"classification": self._random.choice((0, 5, 10**9, -1, "5"))},
        }
        size = self._random.choice((len(content),) * 8 + (0, -1, 10**20))
        head = {"inputs": [{**tensor, "parameters": {"binary_data_size": size}}], "outputs": [wanted]}
        text = json.dumps(head).encode()
        if chance < 0.6:
            text = self._mutated(text)
        length = self._random.choice((len(text),) * 12 + (0, 10**30, len(text) - 1))
        return self._posted_to_infer(text + content, {_LENGTH: str(length)})

    def _posted_to_infer(self, body: bytes, headers: dict[str, str] | None = None) -> bytes:
        coded = (
            {"Content-Encoding": self._random.choice(("gzip", "deflate", "br"))} if self._random.random() < 0.1 else {}
        )
        return (
            head("POST", "/v2/models/demo/infer", {"Content-Length": str(len(body)), **(headers or {}), **coded}) + body
        )

    def _any(self) -> bytes:
        return self._random.choice(self._photos)

    def _photo(self) -> bytes:
        return self._mutated(self._any())

    def _mutated(self, content: bytes) -> bytes:
        return self._mutator.mutated(content, self._any())

    def _posted(self, body: bytes, kind: str) -> bytes:
        return b"".join(post("/classify", [body], kind))

    def _form(self) -> bytes:
        part = b'--Bx\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\nX-Odd: 1\r\n\r\n'
        return b"".join(part + self._any() + b"\r\n" for _ in range(self._random.randint(1, 3))) + b"--Bx--\r\n"

    def _json(self) -> bytes:
        images = [base64.b64encode(self._any()).decode() for _ in range(self._random.randint(1, 3))]
        body: dict[str, Any] = {"images": images} if len(images) > 1 else {"image": images[0]}
        fields = {"model": "demo", "version": "1", "top_k": 5, "priority": "bulk"}
        kept = self._random.sample(sorted(fields), self._random.randint(0, 4))
        return json.dumps({**body, **{name: fields[name] for name in kept}}).encode()

    def _odd_head(self) -> bytes:
        """A good photo behind an odd query and an odd header; neither breaks the header's lines."""
        query = self._mutated(b"top_k=5&model=demo&version=1&priority=bulk")
        target = self._random.choice(_TARGETS) + "?" + "".join(f"%{byte:02x}" for byte in query[:200])
        value = self._mutated(self._random.choice((b"5000", b"image/jpeg", b"100-continue", _FORM.encode())))
        clean = bytes(byte for byte in value if byte >= 32 and byte != 127)[:4000].decode("latin-1")
        photo = self._any()
        headers = {"Content-Length": str(len(photo)), self._random.choice(_HEADERS[:-1]): clean}
        return head(self._random.choice(("POST", "POST", "POST", "GET", "PUT")), target, headers) + photo
