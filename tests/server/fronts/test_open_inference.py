"""Each front speaks the Open Inference Protocol."""

import json

import grpc
import pytest

from server.openinference.tensors import from_elements
from server.pb.inference import grpc_service_pb2 as pb
from server.pb.inference import grpc_service_pb2_grpc as pb_grpc
from tests.support.faces import RestClient
from tests.support.pictures import jpeg
from tests.support.served_tree import FRONTS, ServedTree

pytestmark = pytest.mark.anyio


async def test_both_faces_of_every_front_infer(shared_tree: ServedTree) -> None:
    content = from_elements([jpeg(0)])
    for front in FRONTS:
        async with shared_tree.client_of(front) as http:
            expected = (await RestClient(http).classify(jpeg(0))).indexes
            given = {"name": "image", "datatype": "BYTES", "shape": [1, 1]}
            wanted = {"name": "probabilities", "parameters": {"classification": 5}}
            head = {"inputs": [given | {"parameters": {"binary_data_size": len(content)}}], "outputs": [wanted]}
            text = json.dumps(head).encode()
            headers = {"Inference-Header-Content-Length": str(len(text))}
            response = await http.post("/v2/models/demo/infer", content=text + content, headers=headers)
            (output,) = response.json()["outputs"]
            assert [int(each.split(":")[1]) for each in output["data"]] == expected
            assert (await http.post("/v2/repository/index")).json()[0]["state"] == "READY"
    async with grpc.aio.insecure_channel(shared_tree.grpc) as channel:
        stub = pb_grpc.GRPCInferenceServiceStub(channel)  # type: ignore[no-untyped-call]
        tensor = pb.ModelInferRequest.InferInputTensor(name="image", datatype="BYTES", shape=[1, 1])
        request = pb.ModelInferRequest(model_name="demo", inputs=[tensor], raw_input_contents=[content])
        answer = await stub.ModelInfer(request)
        assert list(answer.outputs[0].shape) == [1, 200]
