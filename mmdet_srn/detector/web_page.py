"""The page of tools/deployment/webdemo.py, made with Gradio."""

import html
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePath
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image, UnidentifiedImageError

from .face_detections import FaceDetections
from .face_detector import FaceDetector
from .frames import Frame
from .images import ImageError
from .pictures import DrawnFiles
from .sources import Source
from .writers import Csv, JsonLines

#: Largest number of pixels of a decoded picture, our choice: 300 MB.
MAX_PIXELS = 100_000_000


def load_gradio() -> ModuleType:
    """Import Gradio, or say what to install."""
    try:
        import gradio
    except ImportError as error:
        raise ImportError(
            f'the page needs Gradio: pip install "mmdet_srn[web]" ({error})'
        ) from error
    return gradio


@dataclass(eq=False)
class WebPage:
    """A page on which to drop a picture and see its faces; one request at a time.

    Attributes:
        detector: The detector; its ``score_thr`` is the lower end of the slider.
        folder: Folder for uploads and results.
        model: What the page calls the model.
        score_thr: Where the slider starts.
        max_size: Longest side for the detector in pixels; None: any.
        kept: Seconds to keep files, at least; at most 7/6 of that.
    """

    detector: FaceDetector
    folder: Path
    model: str
    score_thr: float = 0.5
    max_size: int | None = 2048
    kept: int = 3600

    @contextmanager
    def serve(
        self, host: str | None = None, port: int | None = None, max_upload: int = 20
    ) -> Iterator[str]:
        """Serve the page as long as the context lasts; yield its address.

        Args:
            host: Address to listen at. Defaults to None: this machine only; requests
                that name another host or come from another site's page are refused.
            port: Port. Defaults to None: the first free one from 7860.
            max_upload: Largest file in megabytes. Defaults to 20.

        Raises:
            ImportError: If Gradio is missing.
            OSError: If it cannot listen there.
        """
        gr = load_gradio()
        options: dict[str, Any] = dict(openapi_url=None)
        if host is None:
            from starlette.middleware import Middleware  # Gradio brings it

            options['middleware'] = [Middleware(own_pages_only)]
        # Gradio keeps and serves the files of that folder. It checks that its page
        # answers, which a proxy could not reach.
        environment = dict(GRADIO_TEMP_DIR=str(self.folder), NO_PROXY='*', no_proxy='*')
        with mock.patch.dict(os.environ, environment):
            blocks = self._build(gr)
            blocks.queue(max_size=20, api_open=False, default_concurrency_limit=1)
            try:
                address = blocks.launch(
                    server_name=host or '127.0.0.1',
                    server_port=port,
                    max_file_size=f'{max_upload}mb',
                    allowed_paths=[str(self.folder)],
                    prevent_thread_lock=True,
                    quiet=True,
                    show_error=True,
                    footer_links=[],
                    app_kwargs=options,
                    # Whatever the environment says:
                    share=False,
                    run_history=False,
                    enable_monitoring=False,
                    mcp_server=False,
                    ssr_mode=False,
                )[1]
            except OSError as error:
                place = f'{host or "127.0.0.1"}, port {port or "7860 to 7959"}'
                raise OSError(
                    f'cannot listen at {place}: taken, or no address of this machine'
                ) from error
            try:
                yield address
            finally:
                blocks.close(verbose=False)

    def _build(self, gr: Any) -> Any:
        minutes = self.kept // 60
        return gr.Interface(
            self.update,
            [
                gr.File(label='Picture', elem_id='picture'),
                gr.Slider(
                    self.detector.score_thr or 0,
                    1,
                    self.score_thr,
                    step=0.01,
                    label='Least score',
                    elem_id='threshold',
                ),
                gr.Checkbox(
                    label='Multi-scale test (slower, finds more)',
                    visible=self.detector.has_multi_scale,
                    elem_id='multi-scale',
                ),
            ],
            [
                gr.HTML(elem_id='status'),
                gr.Image(label='Faces', height=540, elem_id='drawn'),
                gr.Dataframe(
                    headers=['score', 'x1', 'y1', 'x2', 'y2'],
                    datatype='number',
                    show_row_numbers=True,
                    max_height=260,
                    label='Boxes, in pixels of the picture as displayed',
                    elem_id='boxes',
                ),
                gr.File(label='Results', file_count='multiple', elem_id='results'),
            ],
            live=True,
            title='Find faces',
            description=f'<p>Model: <b>{html.escape(self.model)}</b>. Pictures go only '
            'to the machine that serves this page, which deletes them after '
            f'{minutes} to {minutes * 7 // 6} minutes.</p>',
            clear_btn=None,
            flagging_mode='never',
            analytics_enabled=False,  # nor a check of the version
            delete_cache=(max(self.kept // 6, 1), self.kept),
        )

    def update(self, upload: str | None, threshold: float, multi_scale: bool) -> tuple:
        """Return status, drawn picture, rows of the table and files of an upload."""
        if upload is None:
            return '', None, None, None
        picture = Path(upload)
        name = picture.name  # as the visitor knows it
        try:
            all_faces, seconds = self.detect(picture, multi_scale)
            image = self.read(picture)
        except (OSError, ImageError, Image.DecompressionBombError) as error:
            text = str(error).replace(str(picture), 'the file')
            if isinstance(error, FileNotFoundError):
                text = 'the file is no longer kept: drop it once more'
            text = html.escape(f'{name}: {text}')
            status = f'<b role="alert" style="color: #dc2626">{text}</b>'
            return status, None, None, None
        number = int(np.count_nonzero(all_faces.scores >= threshold))
        bboxes, scores = all_faces.bboxes[:number], all_faces.scores[:number]
        faces = replace(all_faces, bboxes=bboxes, scores=scores)

        # A folder for each threshold: browsers load an address once.
        suffix = ', multi-scale test' if multi_scale else ''
        folder = picture.with_name(f'{name}, {threshold:.2f}{suffix}')
        folder.mkdir(exist_ok=True)
        frame = Frame(Source('image', name, PurePath(picture.stem)), image)
        for writer in (DrawnFiles, JsonLines, Csv):
            with closing(writer(folder)) as file:
                file.write(frame, faces)
        names = (f'{picture.stem}_faces.jpg', 'faces.jsonl', 'faces.csv')
        files = [str(folder / name) for name in names]

        status = (
            f'<b>{number} faces</b> with a score of {threshold:.2f} or more in '
            f'{html.escape(name)}, {faces.width} × {faces.height} pixels; detected in '
            f'{seconds:.2f} s{suffix}'
        )
        if faces.limit_reached and number == len(all_faces):
            status += ', the most that are looked for'
        rows = np.column_stack((scores, bboxes)).astype(float).round(3).tolist()
        return status, files[0], rows, files

    # Gradio gives an upload a path that holds a hash of the content.
    @lru_cache(maxsize=100)  # noqa: B019
    def detect(self, picture: Path, multi_scale: bool) -> tuple[FaceDetections, float]:
        """Return the faces, once for all thresholds, and the seconds that it took."""
        image = self.read(picture)
        start = time.perf_counter()
        faces = self.detector.detect(
            image, max_size=self.max_size, multi_scale=multi_scale
        )
        return faces, time.perf_counter() - start

    def read(self, picture: Path) -> np.ndarray:
        """Read an upload, uint8 (H, W, 3), BGR, unless it has too many pixels."""
        width = height = 0
        # Reads the file's head. OpenCV, which reads more formats, and may find another
        # size, is limited by tools/deployment/webdemo.py.
        with suppress(UnidentifiedImageError, ValueError), Image.open(picture) as image:
            width, height = image.size
        if width * height > MAX_PIXELS:
            most = f'{MAX_PIXELS / 1e6:.0f} million'
            raise ImageError(f'{width} × {height} pixels are more than {most}')
        return self.detector.read(picture)


def own_pages_only(app: Callable) -> Callable:
    """Refuse requests that another site makes a browser send (ASGI middleware).

    The Host header is the name by which the browser found this machine; a site may give
    it a name of its own. Origin is the page that asks.
    """

    async def guarded(scope: dict, receive: Callable, send: Callable) -> None:
        headers = dict(scope.get('headers', ()))
        host = headers.get(b'host', b'')
        own = host.partition(b':')[0] in (b'127.0.0.1', b'localhost')
        own = own and headers.get(b'origin', b'http://' + host) == b'http://' + host
        if own or scope['type'] == 'lifespan':
            await app(scope, receive, send)
        else:
            from starlette.responses import PlainTextResponse

            text = 'refused: this page is for this machine only (see --host)\n'
            await PlainTextResponse(text, 403)(scope, receive, send)

    return guarded
