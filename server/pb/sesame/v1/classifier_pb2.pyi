from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Priority(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    INTERACTIVE: _ClassVar[Priority]
    BULK: _ClassVar[Priority]
INTERACTIVE: Priority
BULK: Priority

class ClassifyRequest(_message.Message):
    __slots__ = ("image", "model", "version", "top_k", "id", "priority")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    image: bytes
    model: str
    version: str
    top_k: int
    id: str
    priority: Priority
    def __init__(self, image: _Optional[bytes] = ..., model: _Optional[str] = ..., version: _Optional[str] = ..., top_k: _Optional[int] = ..., id: _Optional[str] = ..., priority: _Optional[_Union[Priority, str]] = ...) -> None: ...

class ClassifyResponse(_message.Message):
    __slots__ = ("id", "model", "version", "predictions", "timing", "group")
    ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    id: str
    model: str
    version: str
    predictions: _containers.RepeatedCompositeFieldContainer[Prediction]
    timing: Timing
    group: Group
    def __init__(self, id: _Optional[str] = ..., model: _Optional[str] = ..., version: _Optional[str] = ..., predictions: _Optional[_Iterable[_Union[Prediction, _Mapping]]] = ..., timing: _Optional[_Union[Timing, _Mapping]] = ..., group: _Optional[_Union[Group, _Mapping]] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("photo", "class_index", "overlay", "all_gates")
    PHOTO_FIELD_NUMBER: _ClassVar[int]
    CLASS_INDEX_FIELD_NUMBER: _ClassVar[int]
    OVERLAY_FIELD_NUMBER: _ClassVar[int]
    ALL_GATES_FIELD_NUMBER: _ClassVar[int]
    photo: ClassifyRequest
    class_index: int
    overlay: bool
    all_gates: bool
    def __init__(self, photo: _Optional[_Union[ClassifyRequest, _Mapping]] = ..., class_index: _Optional[int] = ..., overlay: _Optional[bool] = ..., all_gates: _Optional[bool] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("classified", "explained", "map", "overlay_png", "excitations", "explain_ms")
    CLASSIFIED_FIELD_NUMBER: _ClassVar[int]
    EXPLAINED_FIELD_NUMBER: _ClassVar[int]
    MAP_FIELD_NUMBER: _ClassVar[int]
    OVERLAY_PNG_FIELD_NUMBER: _ClassVar[int]
    EXCITATIONS_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_MS_FIELD_NUMBER: _ClassVar[int]
    classified: ClassifyResponse
    explained: Prediction
    map: ClassMap
    overlay_png: bytes
    excitations: _containers.RepeatedCompositeFieldContainer[Excitation]
    explain_ms: float
    def __init__(self, classified: _Optional[_Union[ClassifyResponse, _Mapping]] = ..., explained: _Optional[_Union[Prediction, _Mapping]] = ..., map: _Optional[_Union[ClassMap, _Mapping]] = ..., overlay_png: _Optional[bytes] = ..., excitations: _Optional[_Iterable[_Union[Excitation, _Mapping]]] = ..., explain_ms: _Optional[float] = ...) -> None: ...

class ClassMap(_message.Message):
    __slots__ = ("rows", "columns", "values", "region")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    rows: int
    columns: int
    values: _containers.RepeatedScalarFieldContainer[float]
    region: Region
    def __init__(self, rows: _Optional[int] = ..., columns: _Optional[int] = ..., values: _Optional[_Iterable[float]] = ..., region: _Optional[_Union[Region, _Mapping]] = ...) -> None: ...

class Region(_message.Message):
    __slots__ = ("left", "top", "width", "height")
    LEFT_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    left: float
    top: float
    width: float
    height: float
    def __init__(self, left: _Optional[float] = ..., top: _Optional[float] = ..., width: _Optional[float] = ..., height: _Optional[float] = ...) -> None: ...

class Excitation(_message.Message):
    __slots__ = ("block", "channels", "mean", "deviation", "quantiles", "strongest", "gates")
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    MEAN_FIELD_NUMBER: _ClassVar[int]
    DEVIATION_FIELD_NUMBER: _ClassVar[int]
    QUANTILES_FIELD_NUMBER: _ClassVar[int]
    STRONGEST_FIELD_NUMBER: _ClassVar[int]
    GATES_FIELD_NUMBER: _ClassVar[int]
    block: str
    channels: int
    mean: float
    deviation: float
    quantiles: _containers.RepeatedScalarFieldContainer[float]
    strongest: _containers.RepeatedCompositeFieldContainer[StrongChannel]
    gates: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, block: _Optional[str] = ..., channels: _Optional[int] = ..., mean: _Optional[float] = ..., deviation: _Optional[float] = ..., quantiles: _Optional[_Iterable[float]] = ..., strongest: _Optional[_Iterable[_Union[StrongChannel, _Mapping]]] = ..., gates: _Optional[_Iterable[float]] = ...) -> None: ...

class StrongChannel(_message.Message):
    __slots__ = ("channel", "gate")
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    GATE_FIELD_NUMBER: _ClassVar[int]
    channel: int
    gate: float
    def __init__(self, channel: _Optional[int] = ..., gate: _Optional[float] = ...) -> None: ...

class StreamResponse(_message.Message):
    __slots__ = ("id", "answer", "error")
    ID_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    id: str
    answer: ClassifyResponse
    error: Error
    def __init__(self, id: _Optional[str] = ..., answer: _Optional[_Union[ClassifyResponse, _Mapping]] = ..., error: _Optional[_Union[Error, _Mapping]] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("code", "detail")
    CODE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    code: str
    detail: str
    def __init__(self, code: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...

class Prediction(_message.Message):
    __slots__ = ("index", "id", "label", "probability")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    index: int
    id: str
    label: str
    probability: float
    def __init__(self, index: _Optional[int] = ..., id: _Optional[str] = ..., label: _Optional[str] = ..., probability: _Optional[float] = ...) -> None: ...

class Group(_message.Message):
    __slots__ = ("name", "votes", "of")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VOTES_FIELD_NUMBER: _ClassVar[int]
    OF_FIELD_NUMBER: _ClassVar[int]
    name: str
    votes: int
    of: int
    def __init__(self, name: _Optional[str] = ..., votes: _Optional[int] = ..., of: _Optional[int] = ...) -> None: ...

class Timing(_message.Message):
    __slots__ = ("decode_ms", "queue_ms", "infer_ms", "total_ms", "batch")
    DECODE_MS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_MS_FIELD_NUMBER: _ClassVar[int]
    INFER_MS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_MS_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    decode_ms: float
    queue_ms: float
    infer_ms: float
    total_ms: float
    batch: int
    def __init__(self, decode_ms: _Optional[float] = ..., queue_ms: _Optional[float] = ..., infer_ms: _Optional[float] = ..., total_ms: _Optional[float] = ..., batch: _Optional[int] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models", "aliases")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    aliases: _containers.RepeatedCompositeFieldContainer[Alias]
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ..., aliases: _Optional[_Iterable[_Union[Alias, _Mapping]]] = ...) -> None: ...

class Alias(_message.Message):
    __slots__ = ("name", "model", "version", "versions", "shadow")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    name: str
    model: str
    version: str
    versions: _containers.RepeatedCompositeFieldContainer[VersionShare]
    shadow: str
    def __init__(self, name: _Optional[str] = ..., model: _Optional[str] = ..., version: _Optional[str] = ..., versions: _Optional[_Iterable[_Union[VersionShare, _Mapping]]] = ..., shadow: _Optional[str] = ...) -> None: ...

class VersionShare(_message.Message):
    __slots__ = ("version", "weight")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    version: str
    weight: float
    def __init__(self, version: _Optional[str] = ..., weight: _Optional[float] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("name", "version", "state", "reason", "classes", "label_set", "height", "width", "engine", "precision")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    LABEL_SET_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    state: str
    reason: str
    classes: int
    label_set: str
    height: int
    width: int
    engine: str
    precision: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., state: _Optional[str] = ..., reason: _Optional[str] = ..., classes: _Optional[int] = ..., label_set: _Optional[str] = ..., height: _Optional[int] = ..., width: _Optional[int] = ..., engine: _Optional[str] = ..., precision: _Optional[str] = ...) -> None: ...
