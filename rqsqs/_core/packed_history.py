"""Hours of a history as bytes: column by column, in about as many bits as the numbers have information. Those of a busy
queue are mostly noise, in which zlib finds little.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Sequence

from rqsqs._core.metric_history import BUCKETS, COLUMN, UNREADABLE, Row, is_first_counter, is_shared

PACKED_BYTES = 760  # of an hour: with what the allocator adds 768
MOST_ROWS = 1_000  # of an hour: there are 60, and more only if the clock was put back
SHARING = (1, 2, 3, 5, 10, 15, 30, 60)  # minutes that share a histogram, until an hour is small enough
BESIDE = {COLUMN["received"]: COLUMN["sent"], COLUMN["deleted"]: COLUMN["received"]}  # nearly the same


def pack(rows: Sequence[Row]) -> bytes:
    """The rows of an hour: version, minutes that share, how many rows; their times; number (or name) and values of each
    column. So that they are small enough, several minutes may share histograms and sent bytes."""
    if not rows:
        return b""
    ends = [row.at_ms // 100 for row in rows]
    starts = [(row.at_ms - row.span_ms) // 100 for row in rows]
    first = ends[0] // 600
    times = _whole(len(rows)) + _whole(first) + _block([end // 600 - first for end in ends])
    times += _block([end % 600 for end in ends])
    times += _block([_zigzag(a - b) for a, b in zip(starts, [ends[0], *ends], strict=False)])
    names = sorted({column for row in rows for column in row.values})
    always = b"".join([_column(rows, name, 1) for name in names if not is_shared(name)])
    packed = b""
    for minutes in SHARING:
        shared = b"".join([_column(rows, name, minutes) for name in names if is_shared(name)])
        packed = _whole(1) + _whole(minutes) + times + always + shared
        if len(packed) <= PACKED_BYTES:
            break
    return packed


def unpack(data: bytes, chosen: Container[str] | None = None) -> list[Row]:
    """The rows that were packed, none if they cannot be read. What several minutes share is in the last one of them.

    Args:
        chosen: these columns are needed, and others may be left out; None = all.
    """
    try:
        return _unpacked(data, chosen) if data[:1] == b"\x01" else []  # else a later version packed them
    except (IndexError, ZeroDivisionError, *UNREADABLE):
        return []


def _unpacked(data: bytes, chosen: Container[str] | None) -> list[Row]:
    reader = _Reader(data, 1)
    minutes, count, first = reader.whole(), reader.whole(), reader.whole()
    if count > MOST_ROWS:
        raise ValueError(f"{count} rows in an hour")
    numbers, offsets = reader.block(count), reader.block(count)
    ends = [(first + n) * 600 + offset for n, offset in zip(numbers, offsets, strict=True)]
    starts = [_unzigzag(a) + b for a, b in zip(reader.block(count), [ends[0], *ends], strict=False)]
    found: list[dict[str, int]] = [{} for _ in ends]
    rows = [Row(end * 100, (end - start) * 100, values) for end, start, values in zip(ends, starts, found, strict=True)]
    shared = list({row.minute // minutes: values for row, values in zip(rows, found, strict=True)}.values())
    while reader.at < len(data):
        name = _name_of(reader)
        if chosen is not None and name not in chosen and name not in BESIDE.values():
            reader.skip(len(shared) if minutes > 1 and is_shared(name) else count)
            continue
        if minutes > 1 and is_shared(name):
            for values, value in zip(shared, reader.block(len(shared)), strict=True):
                if value:
                    values[name] = value
            continue
        block = reader.block(count)
        if name in BESIDE:
            other = BESIDE[name]
            block = [_unzigzag(value) + values.get(other, 0) for values, value in zip(found, block, strict=True)]
        elif not is_first_counter(name):
            block = [value - 1 for value in block]
        for values, value in zip(found, block, strict=True):
            if value > 0 or (value == 0 and not is_first_counter(name)):
                values[name] = value
    return rows


def _column(rows: Sequence[Row], name: str, minutes: int) -> bytes:
    if minutes > 1:
        sums: dict[int, int] = {}
        for row in rows:
            sums[row.minute // minutes] = sums.get(row.minute // minutes, 0) + row.values.get(name, 0)
        values = list(sums.values())
    elif name in BESIDE:
        values = [_zigzag(row.values.get(name, 0) - row.values.get(BESIDE[name], 0)) for row in rows]
    elif is_first_counter(name):
        values = [row.values.get(name, 0) for row in rows]
    else:
        values = [row.values.get(name, -1) + 1 for row in rows]
    return _packed_name(name) + _block(values)


def _packed_name(name: str) -> bytes:
    """Columns by their number, buckets behind 64 and 128, others behind 0."""
    if name[0] in BUCKETS:
        return _whole(BUCKETS[name[0]] + int(name[1:]))
    return _whole(int(name)) if name.isdigit() else _whole(0) + _whole(len(name.encode())) + name.encode()


def _name_of(reader: _Reader) -> str:
    number = reader.whole()
    if number == 0:
        return reader.bytes(reader.whole()).decode()
    for letter, first in BUCKETS.items():
        if first <= number < first + 64:
            return f"{letter}{number - first}"
    return str(number)


def _block(values: Sequence[int]) -> bytes:
    """Whole numbers from 0 up, in the shortest of three forms. The reader knows how many there are."""
    steps = [_zigzag(b - a) for a, b in itertools.pairwise(values)]
    usual = max(set(values), key=values.count) if len(values) < 256 else 0
    marks = sum([1 << n for n, value in enumerate(values) if value != usual])
    others = [value for value in values if value != usual]
    forms = [
        _whole(0) + _dense(values),
        _whole(1) + _whole(values[0]) + _dense(steps),
        _whole(2) + _whole(usual) + marks.to_bytes(-(-len(values) // 8), "little") + _dense(others),
    ]
    return min(forms, key=len)


def _dense(values: Sequence[int]) -> bytes:
    """The lowest one, the range, and the rest as one number with a digit for each."""
    if not values:
        return b""
    low, number = min(values), 0
    radix = max(values) - low + 1
    for value in reversed(values):
        number = number * radix + value - low
    return _whole(low) + _whole(radix) + number.to_bytes(_size(radix, len(values)), "little")


def _size(radix: int, count: int) -> int:
    highest: int = radix**count - 1
    return -(-highest.bit_length() // 8)


def _whole(number: int) -> bytes:
    """A whole number from 0 up: seven bits in each byte, the highest bit says that more follow."""
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)


class _Reader:
    """Reads what _whole() and _block() wrote."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self.at = at

    def whole(self) -> int:
        number = shift = 0
        while True:
            byte = self._data[self.at]
            self.at += 1
            number |= (byte & 127) << shift
            if byte < 128:
                return number
            shift += 7

    def bytes(self, count: int) -> bytes:
        self.at += count
        return self._data[self.at - count : self.at]

    def block(self, count: int) -> list[int]:
        form = self.whole()
        if form == 0:
            return self._dense(count)
        first = self.whole()
        if form == 1:
            return list(itertools.accumulate(map(_unzigzag, self._dense(count - 1)), initial=first))
        marks = int.from_bytes(self.bytes(-(-count // 8)), "little")
        others = iter(self._dense(marks.bit_count()))
        return [next(others) if marks >> n & 1 else first for n in range(count)]

    def skip(self, count: int) -> None:
        """Pass over a block."""
        form = self.whole()
        if form:
            self.whole()
        if form == 1:
            count -= 1
        elif form == 2:
            count = int.from_bytes(self.bytes(-(-count // 8)), "little").bit_count()
        if count:
            self.whole()
            radix = self.whole()
            self.at += _size(radix, count)

    def _dense(self, count: int) -> list[int]:
        if not count:
            return []
        low, radix = self.whole(), self.whole()
        if radix == 1:
            return [low] * count
        number = int.from_bytes(self.bytes(_size(radix, count)), "little")
        found = []
        for _ in range(count):
            number, value = divmod(number, radix)
            found.append(low + value)
        return found


def _zigzag(value: int) -> int:
    return 2 * value if value >= 0 else -2 * value - 1


def _unzigzag(value: int) -> int:
    return value // 2 if value % 2 == 0 else -(value // 2) - 1
