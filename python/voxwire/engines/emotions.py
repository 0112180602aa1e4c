"""The names of emotions that the protocol knows, and the few that an engine needs to tell apart (protocol.md 3.7)."""

from __future__ import annotations

__all__ = ["PRIMARY_EMOTIONS", "primary_emotion"]

#: What the vendor calls primary. Values guide a voice, they are not exact.
PRIMARY_EMOTIONS = ("neutral", "calm", "angry", "content", "sad", "scared")

#: All 59 names, in lower case, beside the primary emotion nearest to each.
_NAMES = {
    "neutral": "neutral proud confident distant skeptical contemplative determined mysterious ironic sarcastic",
    "calm": "calm peaceful serene trust sympathetic bored tired resigned",
    "angry": "angry mad outraged frustrated agitated threatened disgusted contempt envious",
    "content": (
        "content happy excited enthusiastic elated euphoric triumphant amazed surprised flirtatious joking/comedic"
        " curious grateful affectionate anticipation"
    ),
    "sad": ("sad dejected melancholic disappointed hurt guilty rejected nostalgic wistful apologetic"),
    "scared": "scared hesitant insecure confused anxious panicked alarmed",
}
_PRIMARY = {name: primary for primary, names in _NAMES.items() for name in names.split()}


def primary_emotion(name: str | None) -> str | None:
    """Returns the nearest of ``PRIMARY_EMOTIONS``; None for a name that the protocol does not know.

    Args:
        name: In any case; None for none.
    """
    return None if name is None else _PRIMARY.get(name.lower())
