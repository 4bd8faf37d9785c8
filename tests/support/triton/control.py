"""Control: what a client of Triton asks beside inferences, of the server and of its models."""

from typing import Any

from tritonclient.utils import InferenceServerException

from tests.support.triton.sender import MODEL, Sender, refusal, value


class Control:
    """Each public method is one result."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    async def metadata(self) -> Any:
        """What the server says of itself and of the model, in the words of the protocol."""
        json_of = {} if self._sender.is_http else {"as_json": True}
        server = await value(self._sender.client.get_server_metadata(**json_of))
        model = await value(self._sender.client.get_model_metadata(MODEL, **json_of))
        config = await value(self._sender.client.get_model_config(MODEL, **json_of))
        index = await value(self._sender.client.get_model_repository_index(**json_of))
        return [server, model, config.get("config", config), index if self._sender.is_http else index["models"]]

    async def statistics(self) -> Any:
        """Before and after three images: how many were answered, by version 2."""
        return [await self._answered(), await self._sender.infer(model_version="2") and await self._answered()]

    async def health(self) -> Any:
        asked = [self._sender.client.is_server_live(), self._sender.client.is_server_ready()]
        asked += [self._sender.client.is_model_ready(MODEL), self._sender.client.is_model_ready(MODEL, "2")]
        return [await value(each) for each in asked] + [await self._sender.is_ready("nope")]

    async def not_an_operator(self) -> Any:
        try:
            await value(self._sender.client.unload_model(MODEL))
        except InferenceServerException as error:
            return refusal(error)
        return None

    async def operator(self) -> Any:
        """Unloads and loads another model, and asks each time whether it is ready."""
        await value(self._sender.client.unload_model("other", headers=self._sender.headers))
        gone = await self._sender.is_ready("other")
        await value(self._sender.client.load_model("other", headers=self._sender.headers))
        return [gone, await self._sender.is_ready("other")]

    async def _answered(self) -> int:
        options = {} if self._sender.is_http else {"as_json": True}
        (found,) = (await value(self._sender.client.get_inference_statistics(MODEL, "2", **options)))["model_stats"]
        assert len(found["inference_stats"]) == 8
        return int(found.get("inference_count", 0))
