"""LoRA adapters, chosen by request.

llama.cpp knows adapters by their place in the list; `settings["adapters"]` is `{name: {"path", "scale"}}`.
"""


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
    """llama.cpp's `lora` field for a request that names a known adapter or none; None for deployments without any."""
    adapters = settings.get("adapters") or {}
    wanted = document.get("adapter")
    return [
        {"id": place, "scale": entry["scale"] if name == wanted else 0.0}
        for place, (name, entry) in enumerate(adapters.items())
    ] or None
