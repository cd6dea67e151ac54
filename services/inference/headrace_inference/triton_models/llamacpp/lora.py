"""LoRA adapters, chosen by request.

llama.cpp knows adapters by their place in the list; `settings["adapters"]` is `{name: {"path", "scale"}}`.
"""

from ..shared.failures import RequestFailed


def load(params, settings):
    """Load the deployment's adapters with the model. None applies to a request that names none."""
    adapters = settings.get("adapters")
    if not adapters:
        return
    import xllamacpp

    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(entry["path"], 0.0) for entry in adapters.values()]
    params.lora_init_without_apply = True
    # Prefixes kept outside the slots are found again by their tokens alone: one adapter's would serve another.
    params.cache_ram_mib = 0


def of_request(document, settings):
    """llama.cpp's `lora` field for a request, or None where the deployment has no adapters.

    Raises:
        RequestFailed: there is no such adapter.
    """
    adapters = settings.get("adapters") or {}
    name = document.get("adapter") or ""
    if name and name not in adapters:
        known = ", ".join(sorted(adapters)) or "it has none"
        raise RequestFailed("unsupported", "this deployment has no adapter %r (known: %s)" % (name, known), "adapter")
    if not adapters:
        return None
    return [
        {"id": place, "scale": adapters[known]["scale"] if known == name else 0.0}
        for place, known in enumerate(adapters)
    ]
