"""Weights as Q8_0, whatever they come as.

llama.cpp has fast kernels for several tokens at once for some kinds of weights only. Q4_1 is not one of them: eight
tokens together cost nearly eight times one, so neither batching nor speculation pays. As Q8_0 the same weights are read
about twice as fast, and take up to 1.7 times the memory. The conversion rounds to within 1/254 of a block's largest.
"""

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

FOLDER = "converted"
"""Beside the original file, where that folder can be written; else a file without a name."""


@contextmanager
def prepared(settings):
    """The path to load; what has no name goes when this ends, but for what is mapped of it.

    Raises:
        RuntimeError: the file cannot be converted.
    """
    source = Path(settings["model"])
    if settings.get("weights") != "q8_0":
        yield str(source)
        return
    target = source.parent / FOLDER / (source.name + "-q8_0.gguf")
    if not target.is_file():
        try:
            target.parent.mkdir(exist_ok=True)
            handle, path = tempfile.mkstemp(dir=target.parent, prefix=source.name + "-", suffix=".tmp")
        except OSError:
            target = None
            handle, path = tempfile.mkstemp(prefix="headrace-")
        os.close(handle)
        fresh = Path(path)
        try:
            convert(source, fresh)
        except BaseException:
            fresh.unlink()
            raise
        if target is None:
            yield path
            fresh.unlink()
            return
        fresh.replace(target)
    yield str(target)


def convert(source, target):
    """Write the GGUF file `source` as `target`, with every matrix as Q8_0.

    Raises:
        RuntimeError: it is damaged, or the package `gguf` is missing.
    """
    gguf = _library()
    try:
        _write(gguf, gguf.GGUFReader(source), target)
    except (ValueError, KeyError, IndexError, OSError, NotImplementedError) as error:
        raise RuntimeError("could not load %s: it cannot be converted to q8_0: %s" % (source, error)) from error


def _library():
    try:
        import gguf
    except ImportError as error:
        raise RuntimeError("converting weights to q8_0 needs the package gguf") from error
    return gguf


def _write(gguf, reader, target):
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents(), use_temp_file=True)
    for field in reader.fields.values():
        if field.name == "general.file_type":
            writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
        elif field.name != "general.architecture" and not field.name.startswith("GGUF."):
            kind = field.types[0]
            inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), kind, sub_type=inner)
    wanted = gguf.GGMLQuantizationType.Q8_0
    block = gguf.GGML_QUANT_SIZES[wanted][0]
    for tensor in reader.tensors:
        data, kind = tensor.data, tensor.tensor_type
        matrix = len(tensor.shape) > 1 and int(tensor.shape[0]) % block == 0
        if matrix and kind not in (wanted, gguf.GGMLQuantizationType.F32):
            data = gguf.quants.quantize(gguf.quants.dequantize(data, kind), wanted)
            kind = wanted
        writer.add_tensor(tensor.name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
