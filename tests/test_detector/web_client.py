"""A served page, and talking to it as its own script does, without a browser."""

import json
import socket
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmdet_srn import FaceDetector
from mmdet_srn.detector.web_page import WebPage


class WatchedDetector:
    """A detector that notes its calls, and how many there were at once.

    Args:
        detector: What detects.
        pause: Seconds that a call takes longer.
    """

    def __init__(self, detector: FaceDetector, pause: float = 0.0) -> None:
        self.detector = detector
        self.pause = pause
        self.calls: list[tuple[bool, int | None]] = []  # multi_scale, max_size
        self.running = self.most = 0
        self.score_thr = detector.score_thr
        self.has_multi_scale = detector.has_multi_scale
        self.read = detector.read

    def detect(self, image, *, max_size, multi_scale):
        self.calls.append((multi_scale, max_size))
        self.running += 1
        self.most = max(self.most, self.running)
        time.sleep(self.pause)
        found = self.detector.detect(image, max_size=max_size, multi_scale=multi_scale)
        self.running -= 1
        return found


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return listener.getsockname()[1]


@contextmanager
def served(
    detector: Any, folder: Path, kept: int = 3600, host: str | None = None
) -> Iterator[str]:
    """The address of a page, without the slash at its end."""
    page = WebPage(detector, folder, 'a <tiny> model', kept=kept)
    with page.serve(host, free_port(), max_upload=1) as address:
        yield address.rstrip('/')


class Client:
    """One visitor.

    Args:
        address: Of the page.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.session = uuid.uuid4().hex[:10]
        self.config = json.loads(self.get('/config'))

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.address + path, timeout=60) as answer:
            return answer.read()

    def status_of(self, path: str) -> int:
        try:
            self.get(path)
        except urllib.error.HTTPError as error:
            return error.code
        return 200

    def upload(self, name: str, content: bytes) -> str:
        """The file's path on the server."""
        edge = uuid.uuid4().hex
        body = (
            f'--{edge}\r\nContent-Disposition: form-data; name="files"; '
            f'filename="{name}"\r\nContent-Type: application/octet-stream\r\n\r\n'
        ).encode() + content
        request = urllib.request.Request(
            f'{self.address}/gradio_api/upload',
            body + f'\r\n--{edge}--\r\n'.encode(),
            {'Content-Type': f'multipart/form-data; boundary={edge}'},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)[0]

    def ask(self, event: str, *values: Any) -> dict[str, Any]:
        """Triggers an event, such as 'upload', and waits for what comes of it.

        Args:
            event: Such as 'picture.upload': the component's elem_id, the event.
            *values: The inputs, None for what the server keeps.

        Returns:
            dict: ``success`` and ``output``.
        """
        names = {
            part['id']: part['props'].get('elem_id')
            for part in self.config['components']
        }
        (number,) = (
            dependency['id']
            for dependency in self.config['dependencies']
            for part, name in dependency['targets']
            if f'{names.get(part)}.{name}' == event
        )
        message = dict(data=values, fn_index=number, session_hash=self.session)
        request = urllib.request.Request(
            f'{self.address}/gradio_api/queue/join',
            json.dumps(message).encode(),
            {'Content-Type': 'application/json'},
        )
        with urllib.request.urlopen(request, timeout=60):
            pass
        stream = f'{self.address}/gradio_api/queue/data?session_hash={self.session}'
        with urllib.request.urlopen(stream, timeout=60) as lines:
            for line in lines:
                if line.startswith(b'data:'):
                    said = json.loads(line[5:])
                    if said['msg'] == 'process_completed':
                        return said
        raise AssertionError('no answer')

    def detect(self, path: str | Path, threshold: float = 0.5) -> dict[str, Any]:
        """What happens after an upload."""
        file = dict(path=str(path), meta=dict(_type='gradio.FileData'))
        return self.ask('picture.upload', file, False, threshold, None)
