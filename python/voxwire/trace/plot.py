"""The picture of a trace: what came, what waited and what was heard, over one axis of time. Needs matplotlib."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from matplotlib import font_manager, style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from voxwire.protocol import __version__
from voxwire.trace.series import PlacedWord, lanes, place_words, series
from voxwire.trace.wording import counted, moment_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from voxwire.trace.model import Trace

__all__ = ["draw"]

# The colours of Okabe and Ito, which differ for every kind of sight; what they say is also said by form.
_BLUE, _SKY, _GREEN, _ORANGE, _RED = "#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00"
_INK, _QUIET, _FAINT = "#222222", "#666666", "#DDDDDD"

# All in inches; widths grow with what there is to read.
_LEFT, _RIGHT, _BOTTOM, _TOP = 0.85, 0.3, 0.62, 0.78
_HEADER, _STRIP_LANE, _WORD_LANE, _BAR = 0.46, 0.19, 0.2, 0.24
_AUDIO_HEIGHT, _DEPTH_HEIGHT = 2.6, 1.5
_LEAST_WIDTH, _MOST_WIDTH = 11.0, 26.0
_MOST_MOMENT_LANES, _MOST_WORD_LANES = 4, 9
_WORD_ROWS = 4.0
_LABEL_GAP = 0.1
_LONGEST_WORD = 28
_DPI = 144

_STYLE: dict[str, Any] = {
    "font.size": 9.0,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _QUIET,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "grid.color": "#EEEEEE",
    "grid.linewidth": 0.8,
    "xtick.color": _QUIET,
    "ytick.color": _QUIET,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
    # Words stay words, which can be searched for and copied; the names in the file are the same each time.
    "svg.fonttype": "none",
    "svg.hashsalt": "voxwire",
}
# For the scripts that the first family has not, where they are installed.
_FURTHER_FAMILIES = (
    "Noto Sans",
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Noto Sans Devanagari",
    "Noto Sans Arabic",
    "WenQuanYi Zen Hei",
    "IPAGothic",
    "FreeSans",
    "Unifont",
)
#: Behind a label, so that no line crosses it.
_GROUND = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
_BAD = frozenset({"interrupted", "failed"})
#: From this depth on the buffer is told in seconds.
_DEEP_S = 5.0


def draw(trace: Trace, kind: Literal["png", "svg"]) -> bytes:
    """Returns the picture as a file; equal traces give equal files."""
    installed = set(font_manager.get_font_names())
    families = ["DejaVu Sans", *(family for family in _FURTHER_FAMILIES if family in installed), "sans-serif"]
    with warnings.catch_warnings(), style.context(_STYLE | {"font.family": families}, after_reset=True):
        # A character that no font has is a box in the picture, and no news.
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        figure = _Picture(trace).figure
        data = io.BytesIO()
        program = f"voxwire {__version__}"
        metadata = {"Software": program} if kind == "png" else {"Creator": program, "Date": None}
        figure.savefig(data, format=kind, dpi=_DPI, metadata=metadata)
    return data.getvalue()


class _MomentLabel(NamedTuple):
    time_s: float
    text: str
    #: In inches from the left end of the axes.
    begin: float
    lane: int | None
    bad: bool


class _Picture:
    """The figure, laid out from the sizes of its texts."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._series = series(trace)
        self._words, self._beyond = place_words(trace)
        self.figure = Figure(dpi=_DPI)
        self._renderer = FigureCanvasAgg(self.figure).get_renderer()  # type: ignore[no-untyped-call]
        self._width = self._fitting_width()
        end_s = max([trace.end_s, *(word.to_s for word in self._words)]) or 1.0
        self._range_s = (-0.012 * end_s, 1.012 * end_s)
        self._draw()

    # --- the layout

    @property
    def _room(self) -> float:
        """Inches that the axis of time is long."""
        return self._width - _LEFT - _RIGHT

    def _fitting_width(self) -> float:
        """Inches that give the words about four rows."""
        words = sum(self._text_inches(_shown(placed.word.text)) + _LABEL_GAP for placed in self._words)
        return min(max(_LEAST_WIDTH, _LEFT + _RIGHT + words / _WORD_ROWS), _MOST_WIDTH)

    def _draw(self) -> None:
        moments = self._moment_labels()
        words = self._word_labels()
        strip_height = _STRIP_LANE * max([1, *(moment.lane + 1 for moment in moments if moment.lane is not None)])
        rows = max([1, *(lane + 1 for _, lane in words if lane is not None)])
        words_height = 0.12 + _BAR + 0.12 + _WORD_LANE * rows
        panels = (strip_height, _AUDIO_HEIGHT, _DEPTH_HEIGHT, words_height)
        height = _TOP + _BOTTOM + 3 * _HEADER + sum(panels)
        self.figure.set_size_inches(self._width, height)
        top = height - _TOP
        axes: list[Axes] = []
        for number, panel in enumerate(panels):
            # The strip of moments stands on the first panel; the others have a header of their own.
            top -= 0.0 if number == 1 else _HEADER
            axes.append(self._add_axes(top - panel, panel, height))
            top -= panel
        strip, audio, depth, word_axes = axes
        self._draw_title(height)
        self._draw_moments(strip, (audio, depth, word_axes), moments, strip_height)
        self._draw_audio(strip, audio)
        self._draw_depth(depth)
        self._draw_words(word_axes, words, words_height)
        for panel_axes in (audio, depth):
            panel_axes.tick_params(labelbottom=False)
        word_axes.set_xlabel("seconds since the first push")

    def _add_axes(self, bottom: float, panel: float, height: float) -> Axes:
        axes = self.figure.add_axes(
            (_LEFT / self._width, bottom / height, self._room / self._width, panel / height),
        )
        axes.set_xlim(*self._range_s)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=max(8, int(self._room)), steps=[1, 2, 5, 10]))
        return axes

    def _text_inches(self, text: str, *, size: float = 9.0, weight: str = "normal") -> float:
        properties = font_manager.FontProperties(size=size, weight=weight)
        pixels, _, _ = self._renderer.get_text_width_height_descent(text, properties, ismath=False)
        return float(pixels) / _DPI

    def _inches(self, time_s: float) -> float:
        """How far a moment is from the left end of the axes."""
        first_s, last_s = self._range_s
        return (time_s - first_s) / (last_s - first_s) * self._room

    def _seconds(self, inches: float) -> float:
        first_s, last_s = self._range_s
        return first_s + inches / self._room * (last_s - first_s)

    def _label_span(self, begin: float, text: str) -> tuple[float, float]:
        """Where a label stands in inches: at its place, or further left where it would leave the axes."""
        size = self._text_inches(text)
        begin = max(0.0, min(begin, self._room - size))
        return begin, begin + size

    # --- the title

    def _draw_title(self, height: float) -> None:
        trace, record = self._trace, self._trace.record
        title = f"{_shown(trace.voice or 'the default voice')}, spoken by {trace.server} into {_shown(trace.sink, 60)}"
        outcome = record.outcome or "open"
        figures = [
            f"{outcome} ({record.reason})" if record.reason else outcome,
            f"{record.audio_s:.2f} s of audio in {counted(len(trace.arrivals), 'piece')}",
            *(f"{name} after {_span(value)}" for name, value in self._firsts()),
            counted(record.stalls, "stall"),
            counted(record.underruns, "underrun") if trace.paced else "not paced",
            str(trace.format),
        ]
        for text, size, weight, colour, down in (
            (title, 13.0, "bold", _INK, 0.3),
            ("  \N{MIDDLE DOT}  ".join(figures), 9.5, "normal", _QUIET, 0.58),
        ):
            fitting = size * min(1.0, 0.98 * self._room / self._text_inches(text, size=size, weight=weight))
            self.figure.text(
                _LEFT / self._width,
                1 - down / height,
                text,
                size=fitting,
                weight=weight,
                color=colour,
                va="center",
                parse_math=False,
            )

    def _firsts(self) -> list[tuple[str, float]]:
        record = self._trace.record
        named = (("first audio", record.first_audio_s), ("first sound", record.first_sound_s))
        return [(name, value) for name, value in named if value is not None]

    # --- moments

    def _moment_labels(self) -> list[_MomentLabel]:
        """The labels of the moments; those that coincide share one."""
        merged: list[tuple[float, list[str]]] = []
        for moment in self._trace.moments:
            name = moment_name(moment.name)
            if not merged or self._inches(moment.time_s) - self._inches(merged[-1][0]) >= 0.04:
                merged.append((moment.time_s, [name]))
            elif name not in merged[-1][1]:
                merged[-1][1].append(name)
        begins, spans = [], []
        for time_s, names in merged:
            size = self._text_inches(", ".join(names))
            place = self._inches(time_s)
            # On the right of its line, unless it would leave the axes there.
            begins.append(place + 0.04 if place + 0.04 + size <= self._room else place - 0.04 - size)
            spans.append((begins[-1], begins[-1] + size))
        # From the right, so that the line of a moment does not cross the labels of those before it.
        mirrored = [(-end, -begin) for begin, end in reversed(spans)]
        found = lanes(mirrored, _MOST_MOMENT_LANES, _LABEL_GAP)[::-1]
        return [
            _MomentLabel(time_s, ", ".join(names), begin, lane, bad=not _BAD.isdisjoint(names))
            for (time_s, names), begin, lane in zip(merged, begins, found, strict=True)
        ]

    def _draw_moments(
        self, strip: Axes, panels: Sequence[Axes], moments: list[_MomentLabel], strip_height: float
    ) -> None:
        strip.set_axis_off()
        strip.set_ylim(0, strip_height)
        for moment in moments:
            colour = _RED if moment.bad else _QUIET
            for axes in panels:
                axes.axvline(moment.time_s, color=colour, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1.5)
            if moment.lane is None:
                continue
            bottom = _STRIP_LANE * moment.lane
            strip.plot([moment.time_s] * 2, [0, bottom + 0.14], color=colour, linewidth=0.9, clip_on=False)
            strip.text(self._seconds(moment.begin), bottom + 0.03, moment.text, color=colour, va="bottom", bbox=_GROUND)

    # --- audio

    def _draw_audio(self, strip: Axes, axes: Axes) -> None:
        data, trace = self._series, self._trace
        axes.fill_between(data.times_s, data.played_s, data.received_s, color=_BLUE, alpha=0.12, linewidth=0)
        axes.plot(data.times_s, data.received_s, color=_BLUE, linewidth=1.6)
        axes.plot(data.times_s, data.written_s, color=_SKY, linewidth=1.2, linestyle=(0, (5, 2)))
        axes.plot(data.times_s, data.played_s, color=_GREEN, linewidth=1.8)
        most_s = max([*data.received_s, 0.1])
        axes.set_ylim(-0.06 * most_s, 1.06 * most_s)
        axes.set_ylabel("audio in s")
        below = axes.get_xaxis_transform()
        came = [arrival.time_s for arrival in trace.arrivals]
        axes.vlines(came, 0, 0.045, color=_BLUE, linewidth=1.2, transform=below)
        pushed = [push.time_s for push in trace.pushes]
        axes.plot(pushed, [0.0] * len(pushed), "^", color=_INK, markersize=5, transform=below, clip_on=False, zorder=4)
        handles = [
            Line2D([], [], color=_INK, marker="^", markersize=5, linestyle="none", label="text pushed"),
            Line2D([], [], color=_BLUE, linewidth=1.6, marker="|", markersize=8, label="received, piece by piece"),
            Line2D([], [], color=_SKY, linewidth=1.2, linestyle=(0, (5, 2)), label="handed to the sink"),
            Line2D([], [], color=_GREEN, linewidth=1.8, label="played"),
            Patch(color=_BLUE, alpha=0.12, linewidth=0, label="buffered"),
        ]
        _head(strip, "Arrival of audio", handles)

    # --- buffer depth

    def _draw_depth(self, axes: Axes) -> None:
        data, trace = self._series, self._trace
        scale, unit = (1, "s") if max(data.depth_s) >= _DEEP_S else (1000, "ms")
        axes.set_ylabel(f"buffer in {unit}")
        held = [scale * value for value in data.in_sink_s]
        depth = [scale * value for value in data.depth_s]
        axes.fill_between(data.times_s, 0, held, color=_SKY, alpha=0.75, linewidth=0)
        axes.fill_between(data.times_s, held, depth, color=_BLUE, alpha=0.3, linewidth=0)
        axes.plot(data.times_s, depth, color=_BLUE, linewidth=1.0)
        axes.set_ylim(0, 1.15 * max([*depth, 0.001 * scale]))
        handles: list[Any] = [
            Patch(color=_SKY, alpha=0.75, linewidth=0, label="in the sink"),
            Patch(color=_BLUE, alpha=0.3, linewidth=0, label="waiting for the sink"),
        ]
        for stall in trace.stalls:
            axes.axvspan(stall.start_s, stall.end_s, color=_ORANGE, alpha=0.22, linewidth=0, zorder=0.5)
        if trace.stalls:
            handles.append(Patch(color=_ORANGE, alpha=0.22, linewidth=0, label="audio came later than needed"))
        if trace.underruns:
            below = axes.get_xaxis_transform()
            heights = [0.0] * len(trace.underruns)
            axes.plot(trace.underruns, heights, "X", color=_RED, markersize=7, transform=below, clip_on=False, zorder=4)
            handles.append(Line2D([], [], color=_RED, marker="X", markersize=7, linestyle="none", label="underrun"))
        if not trace.paced:
            note = "this sink is not paced: it takes audio as fast as it comes, and counts it as played"
            axes.text(0.5, 0.5, note, transform=axes.transAxes, ha="center", va="center", color=_QUIET)
        _head(axes, "Buffer depth", handles)

    # --- words

    def _word_labels(self) -> list[tuple[PlacedWord, int | None]]:
        """Each word that has a place, with the lane of its label."""
        spans = [self._label_span(self._inches(placed.from_s), _shown(placed.word.text)) for placed in self._words]
        found = lanes(spans, _MOST_WORD_LANES, _LABEL_GAP)
        return list(zip(self._words, found, strict=True))

    def _draw_words(self, axes: Axes, words: list[tuple[PlacedWord, int | None]], height: float) -> None:
        axes.set_ylim(0, height)
        axes.set_yticks([])
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        top = height - 0.12
        least_s = self._seconds(0.015) - self._seconds(0)
        for placed, lane in words:
            colour, face, text_colour, hatch = _looks(placed.word.state)
            size_s = max(placed.to_s - placed.from_s, least_s)
            axes.add_patch(
                Rectangle(
                    (placed.from_s, top - _BAR),
                    size_s,
                    _BAR,
                    facecolor=face,
                    edgecolor=colour,
                    hatch=hatch,
                    linewidth=0.8,
                )
            )
            if lane is None:
                continue
            text = _shown(placed.word.text)
            begin, _ = self._label_span(self._inches(placed.from_s), text)
            level = top - _BAR - 0.12 - _WORD_LANE * lane
            if lane:
                axes.plot([placed.from_s] * 2, [level, top - _BAR], color=_FAINT, linewidth=0.7, zorder=0.8)
            axes.text(
                self._seconds(begin),
                level,
                text,
                color=text_colour,
                va="top",
                ha="left",
                parse_math=False,
                zorder=3,
                bbox=_GROUND,
            )
        if not words:
            reason = "no word was heard" if self._trace.words else "the server told no times of words"
            axes.text(0.5, 0.5, reason, transform=axes.transAxes, ha="center", va="center", color=_QUIET)
        handles: list[Any] = []
        for state, label in (("heard", "heard"), ("half_heard", "half heard"), ("unheard", "not heard")):
            colour, face, _, hatch = _looks(state)
            handles.append(Patch(facecolor=face, edgecolor=colour, hatch=hatch, linewidth=0.8, label=label))
        unnamed = sum(lane is None for _, lane in words)
        notes = [f"{self._beyond} more not heard"] * bool(self._beyond) + [f"{unnamed} without room for a name"] * bool(
            unnamed
        )
        _head(axes, "Words, when they were heard" + (f" ({', '.join(notes)})" if notes else ""), handles)


def _looks(state: str) -> tuple[str, str, str, str | None]:
    """The colours of edge, face and text of a word, and its hatch."""
    if state == "heard":
        return "white", _GREEN, _INK, None
    if state == "half_heard":
        return "#8A5F00", _ORANGE, "#8A5F00", "////"
    return _QUIET, "white", "#8C8C8C", None


def _head(axes: Axes, title: str, handles: list[Any]) -> None:
    """A panel's title on the left and its legend on the right, above the axes."""
    axes.set_title(title, pad=7)
    axes.legend(
        handles=handles,
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=len(handles),
        borderaxespad=0.15,
        handlelength=1.8,
    )


def _shown(text: str, longest: int = _LONGEST_WORD) -> str:
    """A text as it can be drawn: without what cannot be printed, and not too long."""
    text = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return text if len(text) <= longest else f"{text[: longest - 1]}\N{HORIZONTAL ELLIPSIS}"


def _span(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"
