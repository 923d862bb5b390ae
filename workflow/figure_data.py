"""The numbers behind a matplotlib figure as one table, a row for each thing that is drawn.

Columns, of which those without any entry are left out:

panel, title        number of the panel, where there are several, and its title
item                number of the drawn thing in the figure: a line, a set of points, of bars, a picture
mark                line, point, bar, band, interval, box, outline, contour, arrow, pixel, guide, text or note
series              its name in the legend
colour              as #rrggbb
x, y, value         where it is, and the value that a colour stands for
dx, dy              of an arrow
x_low, x_high       ends of an interval, edges of a bin; y_low, y_high likewise
x_text, y_text      the name that the axis shows at x, or at y
text                words beside the point
x_label, y_label    what the axes say, with units; value_label is what the colour bar says

A guide is a line or a band across the whole panel. What only helps the eye is left out: axes, ticks, legends, words
that belong to no place on the axes, empty plots. A note tells what could not be read, and what was thinned.

No module of matplotlib is imported before there is a figure: a kernel that draws none starts as fast as before.
"""

import csv
import io
import sys
from dataclasses import dataclass, field

import numpy as np

MOST_ROWS = 20_000
AXIS = {"x": 0, "y": 1}
NUMBERS = ("x", "x_low", "x_high", "y", "y_low", "y_high", "dx", "dy", "value")
COLUMNS = ("panel", "title", "item", "mark", "series", "colour", "x", "x_low", "x_high", "x_text")
COLUMNS += ("y", "y_low", "y_high", "y_text", "dx", "dy", "value", "text", "x_label", "y_label", "value_label")


@dataclass
class Item:
    """One drawn thing: `data` holds a column for each of its numbers, all of one length."""

    mark: str
    data: dict
    series: str = ""
    colour: str = ""
    fixed: dict = field(default_factory=dict)  # columns with the same entry in each of its rows

    def __post_init__(self):
        columns = np.broadcast_arrays(*(np.atleast_1d(column) for column in self.data.values()))
        self.data = dict(zip(self.data, columns, strict=True))

    def __len__(self) -> int:
        return max((len(column) for column in self.data.values()), default=0)

    def rows(self, step: int = 1) -> list[dict]:
        columns = [column[::step] for column in self.data.values()]
        same = {"mark": self.mark, "series": self.series, "colour": self.colour, **self.fixed}
        return [same | dict(zip(self.data, row, strict=True)) for row in zip(*columns, strict=True)]


def words(text: str) -> str:
    return " ".join(str(text).split())


def number(value) -> str:
    return "" if np.isnan(value) else f"{value:.6g}"


def hexadecimal(colour) -> str:
    from matplotlib.colors import to_hex

    return to_hex(colour)


def colours_of(collection) -> list[str]:
    """Of the faces, or of the edges where the faces are empty."""
    faces = collection.get_facecolor()
    return [hexadecimal(colour) for colour in (faces if len(faces) else collection.get_edgecolor())]


def name(*artists) -> str:
    """The first label that is meant for a legend."""
    labels = [words(artist.get_label() or "") for artist in artists if artist is not None]
    return next((label for label in labels if label and not label.startswith("_")), "")


def in_data(transform, axes) -> tuple[bool, bool]:
    """Whether x, and whether y, is in the units of the axes."""
    return transform.contains_branch_seperately(axes.transData)


def read_line(line, axes) -> list[Item]:
    x, y = line.get_xdata(orig=False), line.get_ydata(orig=False)
    of_x, of_y = in_data(line.get_transform(), axes)
    style = {"series": name(line), "colour": hexadecimal(line.get_color())}
    if of_x and of_y:
        return [Item("point" if line.get_linestyle() == "None" else "line", {"x": x, "y": y}, **style)]
    return [Item("guide", {"x": x[0]} if of_x else {"y": y[0]}, **style)] if of_x or of_y else []


def ends(segments, axis: str) -> dict:
    """Both ends along `axis` of segments that lie along it."""
    along = np.array([path.vertices[:, AXIS[axis]] for path in segments.get_paths()]).reshape(-1, 2)
    return {f"{axis}_low": along.min(1), f"{axis}_high": along.max(1)}


def read_errorbar(container, axes) -> list[Item]:
    line, _, bars = container.lines
    along = [axis for axis in AXIS if getattr(container, f"has_{axis}err")]
    if line is not None:
        (item,) = read_line(line, axes)
        data, mark, colour = item.data, item.mark, item.colour
    else:  # the other coordinate stands still along each segment
        across = "y" if along[0] == "x" else "x"
        data = {across: [path.vertices[0, AXIS[across]] for path in bars[0].get_paths()]}
        mark, colour = "interval", colours_of(bars[0])[0]
    for axis, segments in zip(along, bars, strict=True):
        data |= ends(segments, axis)
    return [Item(mark, data, name(container, line), colour)]


def read_bars(container, axes) -> list[Item]:
    """Bars; with the edges of bins where they touch, and with both ends where they do not stand on zero."""
    across, along = ("x", "y") if container.orientation == "vertical" else ("y", "x")
    starts = np.array([bar.get_xy() for bar in container.patches]).reshape(-1, 2)
    sizes = np.array([(bar.get_width(), bar.get_height()) for bar in container.patches]).reshape(-1, 2)
    low, base = starts[:, AXIS[across]], starts[:, AXIS[along]]
    high, length = low + sizes[:, AXIS[across]], sizes[:, AXIS[along]]
    data = {across: (low + high) / 2, along: length}
    if len(low) > 1 and np.allclose(low[1:], high[:-1]):
        data |= {f"{across}_low": low, f"{across}_high": high}
    if container.errorbar is not None:
        data |= ends(container.errorbar.lines[2][0], along)
    elif base.any():
        data |= {f"{along}_low": base, f"{along}_high": base + length}
    data["colour"] = [hexadecimal(bar.get_facecolor()) for bar in container.patches]
    return [Item("bar", data, name(container, *container.patches))]


def read_rectangle(box, axes) -> list[Item]:
    of_axis = dict(zip(AXIS, in_data(box.get_transform(), axes), strict=True))
    start, size = box.get_xy(), (box.get_width(), box.get_height())
    data = {}
    for axis in (axis for axis in AXIS if of_axis[axis]):
        data |= {f"{axis}_low": start[AXIS[axis]], f"{axis}_high": start[AXIS[axis]] + size[AXIS[axis]]}
    mark = "box" if all(of_axis.values()) else "guide"
    return [Item(mark, data, name(box), hexadecimal(box.get_facecolor()))] if data else []


def stairs(corners: np.ndarray) -> dict | None:
    """The bins of a histogram that is drawn as one outline, with the way back along its foot or without."""
    count = len(corners)
    bins = (count - 1) // 4 if count % 2 else (count - 2) // 2
    there = corners[: 2 * bins + 2]
    x, y = there[::2, 0], there[1:-1:2, 1]
    if bins < 1 or not (np.array_equal(x, there[1::2, 0]) and np.array_equal(y, there[2::2, 1])):
        return None
    return {"x": (x[1:] + x[:-1]) / 2, "y": y - there[0, 1], "x_low": x[:-1], "x_high": x[1:]}


def read_polygon(polygon, axes) -> list[Item]:
    if not all(in_data(polygon.get_transform(), axes)):
        return []
    corners = polygon.get_xy()
    colour = polygon.get_facecolor() if polygon.get_fill() else polygon.get_edgecolor()
    style = {"series": name(polygon), "colour": hexadecimal(colour)}
    if (bins := stairs(corners)) is not None:
        return [Item("bar", bins, **style)]
    return [Item("outline", {"x": corners[:, 0], "y": corners[:, 1]}, **style)]


def read_points(points, axes) -> list[Item]:
    """The points of a scatter plot; matplotlib draws none that lacks a coordinate or the value behind its colour."""
    if not all(in_data(points.get_offset_transform(), axes)):
        return []
    x, y = np.ma.filled(points.get_offsets().astype(float), np.nan).T
    data = {"x": x, "y": y}
    if points.get_array() is not None:
        data["value"] = np.ma.filled(points.get_array(), np.nan)
    elif len(colours := colours_of(points)) in (1, len(x)):
        data["colour"] = colours
    item = Item("point", data, name(points))
    seen = ~np.isnan(item.data["x"])
    item.data = {column: entries[seen] for column, entries in item.data.items()}
    return [item]


def read_band(band, axes) -> list[Item]:
    """What `fill_between` filled: out along one curve, back along the other."""
    along, across = ("x", "y") if band.t_direction == "x" else ("y", "x")
    items = []
    for path in band.get_paths():
        corners, count = path.vertices, (len(path.vertices) - 3) // 2
        out, back = corners[1 : count + 1], corners[count + 2 : 2 * count + 2][::-1]
        curves = np.stack([out[:, AXIS[across]], back[:, AXIS[across]]])
        data = {along: out[:, AXIS[along]], f"{across}_low": curves.min(0), f"{across}_high": curves.max(0)}
        items.append(Item("band", data, name(band), colours_of(band)[0]))
    return items


def read_segments(segments, axes) -> list[Item]:
    """Upright or level segments as intervals; others corner by corner."""
    if not all(in_data(segments.get_transform(), axes)):
        return []
    corners = [path.vertices for path in segments.get_paths()]
    style = {"series": name(segments), "colour": colours_of(segments)[0]}
    if all(len(each) == 2 for each in corners) and corners:
        for axis, other in (("y", "x"), ("x", "y")):
            level = np.array(corners)[:, :, AXIS[other]]
            if np.array_equal(level[:, 0], level[:, 1]):
                return [Item("interval", {other: level[:, 0], **ends(segments, axis)}, **style)]
    return [Item("outline", {"x": each[:, 0], "y": each[:, 1]}, **style) for each in corners]


def read_contours(contours, axes) -> list[Item]:
    """Each line of one level; of filled areas their borders, with the level at which an area begins."""
    items = []
    levels = contours.levels[:-1] if contours.filled else contours.levels
    for level, path in zip(levels, contours.get_paths(), strict=True):
        for corners in path.to_polygons(closed_only=False):
            items.append(Item("contour", {"x": corners[:, 0], "y": corners[:, 1], "value": level}))
    return items


def read_arrows(arrows, axes) -> list[Item]:
    x, y = arrows.get_offsets().T
    return [Item("arrow", {"x": x, "y": y, "dx": arrows.U, "dy": arrows.V}, name(arrows), colours_of(arrows)[0])]


def read_image(image, axes) -> list[Item]:
    """Pixel by pixel, row by row from its first, at their centres; a colour where the picture holds colours."""
    values = np.ma.filled(np.ma.asarray(image.get_array(), float), np.nan)
    height, width = values.shape[:2]
    left, right, bottom, top = image.get_extent()
    first, last = (top, bottom) if image.origin == "upper" else (bottom, top)
    x = left + (np.arange(width) + 0.5) * (right - left) / width
    y = first + (np.arange(height) + 0.5) * (last - first) / height
    data = {"x": np.tile(x, height), "y": np.repeat(y, width)}
    if values.ndim == 2:
        return [Item("pixel", data | {"value": values.ravel()})]
    levels = values / 255 if values.max() > 1 else values
    return [Item("pixel", data | {"colour": [hexadecimal(each) for each in levels.reshape(-1, values.shape[2])]})]


def read_text(text, axes) -> list[Item]:
    """Words at a place on the axes."""
    if hasattr(text, "xycoords"):
        at_data, place = text.xycoords == "data", text.xy
    else:
        at_data, place = all(in_data(text.get_transform(), axes)), text.get_position()
    if not (at_data and words(text.get_text())):
        return []
    x, y = axes.convert_xunits(place[0]), axes.convert_yunits(place[1])
    return [Item("text", {"x": float(x), "y": float(y), "text": words(text.get_text())})]


READERS = {
    "ErrorbarContainer": read_errorbar,
    "BarContainer": read_bars,
    "Line2D": read_line,
    "Rectangle": read_rectangle,
    "Polygon": read_polygon,
    "PathCollection": read_points,
    "FillBetweenPolyCollection": read_band,
    "LineCollection": read_segments,
    "ContourSet": read_contours,
    "Quiver": read_arrows,
    "AxesImage": read_image,
    "Annotation": read_text,
    "Text": read_text,
}


def read(artist, axes) -> list[Item]:
    kinds = [kind.__name__ for kind in type(artist).__mro__]
    reader = next((READERS[kind] for kind in kinds if kind in READERS), None)
    if reader is None:
        return [Item("note", {"text": f"not in this table: {kinds[0]}"})]
    return [item for item in reader(artist, axes) if len(item)]


def drawn(axes) -> list:
    """What was plotted, in its order; the lines of error bars and the boxes of bars as the one thing they are."""
    whole = {id(part): container for container in axes.containers for part in container.get_children()}
    for bars in axes.containers:
        if getattr(bars, "errorbar", None) is not None:
            whole |= {id(part): bars for part in bars.errorbar.get_children()}
    kinds = (axes.lines, axes.patches, axes.collections, axes.images, axes.texts, axes.artists)
    plotted = {id(artist) for kind in kinds for artist in kind} - {id(axes.get_legend())}
    artists = [artist for artist in axes.get_children() if id(artist) in plotted and artist.get_visible()]
    artists = [artist for artist in artists if type(artist).__name__ != "Legend"]
    return list({id(thing): thing for thing in (whole.get(id(artist), artist) for artist in artists)}.values())


def look(line) -> tuple:
    """What tells lines apart in a legend."""
    filled = line.get_fillstyle() != "none" and str(line.get_markerfacecolor()) not in ("none", "white", "w")
    return hexadecimal(line.get_color()), line.get_marker(), line.get_linestyle(), filled


def names_by_look(figure) -> dict[tuple, str]:
    """Names of lines by their look, where all with that look have one name: a legend of one panel speaks for all."""
    lines = [(line, name(line)) for axes in figure.axes for line in axes.lines]
    for container in (container for axes in figure.axes for container in axes.containers):
        if type(container).__name__ == "ErrorbarContainer" and container[0] is not None:
            lines.append((container[0], name(container)))
    for legend in [*figure.legends, *(axes.get_legend() for axes in figure.axes)]:
        handles = legend.legend_handles if legend else []
        lines += [(each, name(each)) for each in handles if type(each).__name__ == "Line2D"]
    found: dict[tuple, set[str]] = {}
    for line, label in lines:
        if label:
            found.setdefault(look(line), set()).add(label)
    return {seen: labels.pop() for seen, labels in found.items() if len(labels) == 1}


def label_of(axes, axis: str) -> str:
    """The axis' label, or that of panels that share the axis, of the whole figure, or of the panels in line with it."""
    figure = axes.get_figure()
    span = "rowspan" if axis == "y" else "colspan"

    def place(other):
        spec = other.get_subplotspec()
        return spec and getattr(spec, span)

    def labels(group) -> set[str]:
        return {getattr(each, f"get_{axis}label")() for each in group} - {""}

    shared = getattr(axes, f"get_shared_{axis}_axes")().get_siblings(axes)
    in_line = [
        other for other in figure.axes if place(axes) and place(other) == place(axes) and not is_colour_bar(other)
    ]
    of_figure = {getattr(figure, f"get_sup{axis}label")()} - {""}
    found = (labels([axes]), labels(shared), of_figure, labels(in_line))
    return next((words(group.pop()) for group in found if len(group) == 1), "")


def is_colour_bar(axes) -> bool:
    return axes.get_label() == "<colorbar>"


def tick_names(axis) -> dict[float, str]:
    """Names that were given to places on an axis, where they say more than the number does."""
    if type(axis.get_major_locator()).__name__ not in ("FixedLocator", "StrCategoryLocator"):
        return {}
    places = [float(place) for place in axis.get_major_locator()()]
    labels = [words(axis.get_major_formatter()(place, at)) for at, place in enumerate(places)]
    plain = [label.replace(",", "").replace("\N{MINUS SIGN}", "-") for label in labels]
    same = [label in ("", f"{place:g}", number(place)) for place, label in zip(places, plain, strict=True)]
    return {} if all(same) else dict(zip(places, labels, strict=True))


def named(values: np.ndarray, names: dict[float, str]) -> list[str]:
    """The name at each place; where names stand at 0, 1, 2, ..., each is that of what lies around it, too."""
    if sorted(names) == list(range(len(names))):
        return ["" if np.isnan(value) else names.get(float(np.floor(value + 0.5)), "") for value in values]
    places = np.array(list(names))
    near = [places[np.isclose(places, value, rtol=1e-6, atol=0)] for value in values]
    return [names[float(found[0])] if len(found) else "" for found in near]


def read_panel(axes, looks: dict[tuple, str]) -> list[Item]:
    items = []
    for thing in drawn(axes):
        new = read(thing, axes)
        line = thing[0] if type(thing).__name__ == "ErrorbarContainer" else thing
        if type(line).__name__ == "Line2D":
            for item in (item for item in new if not item.series):
                item.series = looks.get(look(line), "")
        for item in new:
            bar = getattr(getattr(thing, "colorbar", None), "ax", None)
            if bar is not None:
                item.fixed["value_label"] = words(bar.get_ylabel() or bar.get_xlabel())
        items += new
    if any(item.mark not in ("guide", "note", "text") for item in items):
        return put_words_on_points(items)
    return items


def put_words_on_points(items: list[Item]) -> list[Item]:
    """A text that is anchored at a lone point is what that point is called."""
    lone = {(float(i.data["x"][0]), float(i.data["y"][0])): i for i in items if i.mark == "point" and len(i) == 1}
    kept = []
    for item in items:
        point = lone.get((item.data["x"][0], item.data["y"][0])) if item.mark == "text" else None
        if point is None or "text" in point.data:
            kept.append(item)
        else:
            point.data["text"] = item.data["text"]
    return kept


def panels(figure) -> list:
    """All axes but those of colour bars, each followed by what is set into it."""
    found = []
    for axes in figure.axes:
        if axes.get_visible() and not is_colour_bar(axes):
            found += [axes, *(inset for inset in axes.child_axes if inset.get_visible())]
    return found


def items_of(figure) -> list[Item]:
    looks = names_by_look(figure)
    read_panels = [(axes, read_panel(axes, looks)) for axes in panels(figure)]
    shown = [(axes, items) for axes, items in read_panels if items]
    every = []
    for count, (axes, items) in enumerate(shown, 1):
        titles = (axes.get_title(loc) for loc in ("left", "center", "right"))
        fixed = {f"{axis}_label": label_of(axes, axis) for axis in AXIS}
        fixed |= {"panel": count if len(shown) > 1 else "", "title": words(" ".join(titles))}
        names = {axis: tick_names(getattr(axes, f"{axis}axis")) for axis in AXIS}
        for item in items:
            for axis in (axis for axis in AXIS if names[axis] and axis in item.data):
                item.data[f"{axis}_text"] = np.array(named(item.data[axis], names[axis]))
            item.fixed |= fixed | {"item": len(every) + 1}
            every.append(item)
    return every


def table(figure) -> list[dict[str, str]]:
    """The rows of the figure's table, as texts; of more than `MOST_ROWS` every second, third, ... of each item."""
    items = items_of(figure)
    total = sum(map(len, items))
    step = -(-total // MOST_ROWS)
    found = [row for item in items for row in item.rows(step)]
    if step > 1:
        left = f"{len(found):,} of {total:,} rows are here: of each item one in {step}"
        found.append({"mark": "note", "text": left})
    return [{key: number(row[key]) if key in NUMBERS else str(row[key]) for key in row} for row in found]


def csv_of(figure) -> str | None:
    """The table as CSV, or None for a figure that shows no data."""
    rows = table(figure)
    if all(row["mark"] in ("guide", "note", "text") for row in rows):
        return None
    filled = [column for column in COLUMNS if any(row.get(column) for row in rows)]
    text = io.StringIO()
    writer = csv.DictWriter(text, filled, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def csv_or_note(figure) -> str | None:
    """As `csv_of`, but the figure matters more: what cannot be read is said on stderr and stops nothing."""
    try:
        return csv_of(figure)
    except Exception as error:
        print(f"The data of this figure could not be read: {type(error).__name__}: {error}", file=sys.stderr)
        return None


def register(shell) -> None:
    """Let every figure that `shell` displays carry its table beside its picture."""
    from IPython.core.formatters import BaseFormatter

    class FigureTable(BaseFormatter):
        """Knows figures by itself: whoever chooses a picture's format strikes figures off all lists of printers."""

        def __call__(self, shown):
            figures = sys.modules.get("matplotlib.figure")
            return csv_or_note(shown) if figures and isinstance(shown, figures.Figure) else None

    display = shell.display_formatter
    display.active_types = [*display.active_types, "text/csv"]
    display.formatters["text/csv"] = FigureTable(parent=display, format_type="text/csv")
