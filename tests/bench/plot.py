"""The plots of the benchmark as one SVG: lines on logarithmic axes, and stacked bars."""
import html
import math

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 900, 520, 90, 190, 40, 45
COLOURS = ['#000000', '#d62728', '#1f77b4', '#2ca02c', '#9467bd', '#ff7f0e', '#17becf', '#8c564b', '#e377c2', '#7f7f7f',
           '#bcbd22', '#000080', '#008080', '#800000']


def text(x, y, words, more=''):
    return '<text x="%.1f" y="%.1f" %s>%s</text>' % (x, y, more, html.escape(words))


def line(x1, y1, x2, y2, colour='#cccccc'):
    return '<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s"/>' % (x1, y1, x2, y2, colour)


def lines_by_pages(rows, kind):
    """{row: [(pages, us)]} of a kind."""
    found = {}
    for row in rows.values():
        for name, case in row['cases'].items():
            of, _, pages = name.partition(' ')
            if of == kind and pages.isdigit():
                found.setdefault(row['id'], []).append((int(pages), case['median'] / 1000))
    return {row: sorted(points) for row, points in found.items()}


def draw_lines(top, title, lines, ways):
    points = [p for way in lines.values() for p in way]
    low = [math.floor(math.log10(min(p[axis] for p in points))) for axis in (0, 1)]
    high = [max(math.ceil(math.log10(max(p[axis] for p in points))), low[axis] + 1) for axis in (0, 1)]

    def x_of(v):
        return LEFT + (math.log10(v) - low[0]) / (high[0] - low[0]) * (WIDTH - LEFT - RIGHT)

    def y_of(v):
        return top + HEIGHT - BOTTOM - (math.log10(v) - low[1]) / (high[1] - low[1]) * (HEIGHT - TOP - BOTTOM)

    out = [text(LEFT, top + 22, title, 'font-weight="bold"')]
    for power in range(low[0], high[0] + 1):
        out.append(line(x_of(10 ** power), y_of(10 ** low[1]), x_of(10 ** power), y_of(10 ** high[1])))
        out.append(text(x_of(10 ** power), top + HEIGHT - BOTTOM + 18, '%g' % 10 ** power, 'text-anchor="middle"'))
    for power in range(low[1], high[1] + 1):
        out.append(line(x_of(10 ** low[0]), y_of(10 ** power), x_of(10 ** high[0]), y_of(10 ** power)))
        out.append(text(LEFT - 8, y_of(10 ** power) + 4, '{:,g} us'.format(10.0 ** power) if power < 0 else '{:,} us'.format(10 ** power), 'text-anchor="end"'))
    out.append(text((LEFT + WIDTH - RIGHT) / 2, top + HEIGHT - 8, 'pages written of 64 MB', 'text-anchor="middle"'))
    # Names stand where their lines end, but not on each other.
    at = top
    for way in sorted(lines, key=lambda w: -lines[w][-1][1]):
        colour = COLOURS[ways.index(way) % len(COLOURS)]
        dashes = ' stroke-dasharray="6 3"' if way in ('none', 'oracle', 'oracle-strict') else ''
        width = 3 if way.startswith('cycle') else 1.5
        out.append('<polyline fill="none" stroke="%s" stroke-width="%g"%s points="%s"/>' % (
            colour, width, dashes, ' '.join('%.1f,%.1f' % (x_of(p), y_of(us)) for p, us in lines[way])))
        at = max(at + 16, y_of(lines[way][-1][1]) + 4)
        out.append(text(x_of(lines[way][-1][0]) + 8, at, way, 'fill="%s"' % colour))
    return out


def draw_bars(top, title, bars, steps):
    """bars: {name: {step: us}}"""
    longest = max(sum(parts.values()) for parts in bars.values())
    out = [text(LEFT, top + 22, title, 'font-weight="bold"')]
    for i, (name, parts) in enumerate(bars.items()):
        x, y = LEFT + 140, top + 40 + i * 26
        out.append(text(x - 8, y + 14, name, 'text-anchor="end"'))
        for step, us in parts.items():
            wide = us / longest * (WIDTH - LEFT - 140 - 90)
            out.append('<rect x="%.1f" y="%d" width="%.1f" height="20" fill="%s"><title>%s</title></rect>' % (
                x, y, wide, COLOURS[(steps.index(step) + 1) % len(COLOURS)], html.escape('%s %.1f us' % (step, us))))
            x += wide
        out.append(text(x + 6, y + 14, '%.0f us' % sum(parts.values())))
    y, x = top + 40 + len(bars) * 26 + 16, LEFT
    for i, step in enumerate(steps):
        out.append('<rect x="%d" y="%d" width="10" height="10" fill="%s"/>' % (
            x, y - 9, COLOURS[(i + 1) % len(COLOURS)]))
        out.append(text(x + 14, y, step))
        x += 30 + 7 * len(step)
        if x > WIDTH - 120:
            x, y = LEFT, y + 18
    return out, y + 20 - top


def bars_of(rows, kind):
    """Each creation's steps, and where there are none its sum; not how it was taken apart."""
    bars = {}
    for row in rows.values():
        if row['id'].startswith(('create', 'clone-new', 'clone-pooled')) and kind in row['cases']:
            case = row['cases'][kind]
            parts = {step: ns / 1000 for step, ns in case['parts'].items() if step != 'close'}
            bars[row['id']] = parts or {'all': case['median'] / 1000}
    return bars


def draw(ground, rows):
    kinds = list(dict.fromkeys(name.split(' ')[0] for row in rows.values() for name in row['cases']))
    found = {kind: lines_by_pages(rows, kind) for kind in kinds}
    bars = {kind: bars_of(rows, kind) for kind in kinds}
    # One colour means the same everywhere.
    ways = list(dict.fromkeys(way for lines in found.values() for way in lines))
    steps = list(dict.fromkeys(step for all_bars in bars.values() for parts in all_bars.values() for step in parts))
    top, out = 0, []
    for kind in kinds:
        if found[kind]:
            out += draw_lines(top, '%s, %s: run and reset' % (ground, kind), found[kind], ways)
            top += HEIGHT
    for kind in kinds:
        if bars[kind]:
            drawn, high = draw_bars(top, '%s, %s: creation' % (ground, kind), bars[kind], steps)
            out += drawn
            top += high
    return ('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">\n'
            '<rect width="100%%" height="100%%" fill="white"/>\n%s\n</svg>\n' % (WIDTH, max(top, 1), '\n'.join(out)))
