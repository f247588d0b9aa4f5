"""Where to get IEMOCAP and MELD, and under which terms."""

from __future__ import annotations

__all__ = ["RELEASES", "how_to_get"]

FILES = {  # corpus -> (file, repositories on GitHub)
    "iemocap": (
        ("iemocap_multimodal_features.pkl", "butterfliesss/SDT"),
        ("IEMOCAP_features.pkl", "hujingwen6666/MMGCN, zerohd4869/MM-DFN"),
        ("iemocap_multi_features_mmgcn_cosmic.pkl", "lijfrank/CFN-ESA, lijfrank/GraphSmile"),
        ("iemocap_features_roberta.pkl", "declare-lab/conv-emotion (COSMIC); text only"),
    ),
    "meld": (
        ("meld_multimodal_features.pkl", "butterfliesss/SDT"),
        ("MELD_features_raw1.pkl", "hujingwen6666/MMGCN, zerohd4869/MM-DFN"),
        ("meld_multi_features_mmgcn_cosmic.pkl", "lijfrank/CFN-ESA, lijfrank/GraphSmile"),
        ("meld_features_roberta.pkl", "declare-lab/conv-emotion (COSMIC); text only"),
    ),
}
RELEASES = {"iemocap": "IEMOCAP_full_release", "meld": "MELD.Raw"}
TERMS = {
    "iemocap": "IEMOCAP needs a licence from USC (SAIL) and must never be passed on, including "
    "its features",
    "meld": "MELD is under GPL-3 (declare-lab/MELD); its clips are for research",
}


def how_to_get(corpus: str) -> str:
    """Say which files of iemocap or meld merc reads, from whom, under which terms.

    >>> "butterfliesss/SDT" in how_to_get("meld")
    True
    """
    files = "\n".join(f"    {name}  ({repository})" for name, repository in FILES[corpus])
    return (
        "download it and name it with --data\n"
        "  One of these files, linked from the README of its repository on GitHub:\n"
        f"{files}\n"
        f"  Or the release itself, {RELEASES[corpus]} unpacked: merc extracts its features first.\n"
        f"  Terms: {TERMS[corpus]}.\n"
        "  Name the file with --data FILE, or its folder with --data FOLDER or in MERC_DATA."
    )
