"""Reads an event file with TensorBoard's own readers: read_events.py FILE OUT writes what it found as JSON.

The checksums are verified by TensorBoard's record reader, the messages parsed by its generated protocol buffers.
"""

import json
import sys

try:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
except ImportError as error:
    print(f"TensorBoard does not import: {error}")
    sys.exit(77)


def main(path: str, out: str) -> None:
    events = list(EventFileLoader(path).Load())
    accumulator = EventAccumulator(path).Reload()
    scalars = {
        tag: [
            [event.wall_time, event.step, repr(event.value)]
            for event in accumulator.Scalars(tag)
        ]
        for tag in accumulator.Tags()["scalars"]
    }
    with open(out, "w", encoding="utf-8") as file:
        json.dump(
            {
                "events": len(events),
                "version": events[0].file_version,
                "start": events[0].wall_time,
                "scalars": scalars,
            },
            file,
        )


main(*sys.argv[1:])
