"""The page of tools/deployment/webdemo.py, made with Gradio."""

import html
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from types import ModuleType
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
from PIL import Image, UnidentifiedImageError

from .face_detector import FaceDetections, FaceDetector
from .images import ImageError
from .sources import Frame, Source
from .writers import Csv, DrawnFiles, JsonLines

if TYPE_CHECKING:
    import gradio

#: Largest number of pixels of a decoded picture, our choice: 300 MB. A file of a few
#: kilobytes can hold far more.
MAX_PIXELS = 100_000_000
DOWNLOADS = ('Picture', 'JSON', 'CSV')
STYLE = '.error { color: #dc2626; font-weight: 600 }'


def load_gradio() -> ModuleType:
    """Import Gradio, or say what to install."""
    try:
        import gradio
    except ImportError as error:
        raise ImportError(
            f'the page needs Gradio: pip install "mmdet_srn[web]" ({error})'
        ) from error
    return gradio


@dataclass(frozen=True, eq=False)
class Found:
    """What is kept of a visitor's picture: file, faces, and what the page says of it.

    ``folder`` holds the files that are shown.
    """

    picture: Path
    faces: FaceDetections
    text: str
    folder: Path | None = None


class WebPage:
    """A page on which to drop a picture and see its faces; one request at a time.

    Args:
        detector: The detector; its ``score_thr`` is the lower end of the slider.
        folder: Folder for uploads and results.
        model: What the page calls the model.
        score_thr: Where the slider starts. Defaults to 0.5.
        max_size: Longest side for the detector in pixels; None: any. Defaults to 2048.
        kept: Seconds to keep files, at least; at most 7/6 of that. Defaults to 3600.

    Raises:
        ImportError: If Gradio is missing.
    """

    def __init__(
        self,
        detector: FaceDetector,
        folder: Path,
        model: str,
        score_thr: float = 0.5,
        max_size: int | None = 2048,
        kept: int = 3600,
    ) -> None:
        self.detector = detector
        self.folder = folder
        self.model = model
        self.score_thr = score_thr
        self.max_size = max_size
        self.kept = kept
        self._gradio = load_gradio()

    @contextmanager
    def serve(
        self, host: str | None = None, port: int | None = None, max_upload: int = 20
    ) -> Iterator[str]:
        """Serve the page as long as the context lasts.

        Args:
            host: Address to listen at. Defaults to None: this machine only; requests
                that name another host or come from another site's page are refused.
            port: Port. Defaults to None: the first free one from 7860.
            max_upload: Largest file in megabytes. Defaults to 20.

        Yields:
            The address of the page.

        Raises:
            OSError: If it cannot listen there.
        """
        options: dict[str, Any] = dict(docs_url=None, redoc_url=None, openapi_url=None)
        if host is None:
            from starlette.middleware import Middleware  # Gradio brings it

            options['middleware'] = [Middleware(own_pages_only)]
        with mock.patch.dict(os.environ, self._environment()):
            blocks = self._build().queue(max_size=20, api_open=False)
            try:
                address = blocks.launch(
                    server_name=host or '127.0.0.1',
                    server_port=port,
                    max_file_size=f'{max_upload}mb',
                    prevent_thread_lock=True,
                    quiet=True,
                    share=False,
                    show_error=True,
                    enable_monitoring=False,
                    mcp_server=False,
                    ssr_mode=False,
                    footer_links=[],
                    state_session_capacity=100,
                    app_kwargs=options,
                    # The system's fonts; others would be fetched.
                    theme=self._gradio.themes.Default(
                        font=['system-ui'], font_mono=['monospace']
                    ),
                    css=STYLE,
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

    def _environment(self) -> dict[str, str]:
        """Return what Gradio reads from the environment."""
        # Gradio checks that its page answers, which a proxy could not reach.
        before = os.environ.get('NO_PROXY') or os.environ.get('no_proxy')
        no_proxy = ','.join(filter(None, [before, '127.0.0.1', 'localhost']))
        return dict(
            # Gradio would count starts, and record visits in the visitors' browsers.
            GRADIO_ANALYTICS_ENABLED='False',
            GRADIO_RUN_HISTORY='False',
            # Uploads and results lie there, and nothing else is served.
            GRADIO_TEMP_DIR=str(self.folder),
            GRADIO_ALLOWED_PATHS='',
            NO_PROXY=no_proxy,
            no_proxy=no_proxy,
        )

    def _build(self) -> 'gradio.Blocks':
        gr, detector, minutes = self._gradio, self.detector, self.kept // 60
        with gr.Blocks(
            title='Find faces',
            analytics_enabled=False,
            delete_cache=(max(self.kept // 6, 1), self.kept),
        ) as blocks:
            gr.HTML(
                f'<h1>Find faces</h1><p>Model: <b>{html.escape(self.model)}</b>. '
                'Pictures go only to the machine that serves this page, which deletes '
                f'them after {minutes} to {minutes * 7 // 6} minutes.</p>'
            )
            with gr.Row():
                with gr.Column(scale=1):
                    upload = gr.File(
                        label='Picture', type='filepath', elem_id='picture'
                    )
                    threshold = gr.Slider(
                        detector.score_thr or 0.0,
                        1.0,
                        self.score_thr,
                        step=0.01,
                        label='Least score',
                        elem_id='threshold',
                    )
                    multi_scale = gr.Checkbox(
                        label='Multi-scale test (slower, finds more)'
                        if detector.has_multi_scale
                        else 'Multi-scale test (needs a config with a tta_model)',
                        interactive=detector.has_multi_scale,
                        elem_id='multi-scale',
                    )
                    with gr.Row():
                        downloads = [
                            gr.DownloadButton(name, elem_id=name, size='sm')
                            for name in DOWNLOADS
                        ]
                with gr.Column(scale=3):
                    status = gr.HTML(elem_id='status')
                    drawn = gr.Image(
                        label='Faces',
                        type='filepath',
                        interactive=False,
                        height=540,
                        elem_id='drawn',
                    )
                    table = gr.Dataframe(
                        headers=['face', 'score', 'x1', 'y1', 'x2', 'y2'],
                        datatype='number',
                        interactive=False,
                        max_height=260,
                        label='Boxes, in pixels of the picture as displayed',
                        elem_id='boxes',
                    )
            state = gr.State()
            outputs = [status, drawn, table, *downloads, state]
            once: dict[str, Any] = dict(concurrency_id='page', concurrency_limit=1)
            once |= dict(api_visibility='private', show_progress_on=drawn)
            gr.on(
                [upload.upload, upload.clear, multi_scale.change],
                self._detect,
                [upload, multi_scale, threshold, state],
                outputs,
                **once,
            )
            threshold.change(
                self._show,
                [threshold, state],
                outputs,
                trigger_mode='always_last',
                **once,
            )
        return blocks

    def _detect(
        self, upload: str | None, multi_scale: bool, threshold: float, old: Found | None
    ) -> list[Any]:
        """Run the detector on an upload; return the values of all outputs."""
        _remove(old)
        if upload is None:
            return _nothing('')
        try:
            found = self.detect(Path(upload), multi_scale)
        except ImageError as error:
            return _error(error)
        return self._show(threshold, found)

    def _show(self, threshold: float, found: Found | None) -> list[Any]:
        """Show the faces above a threshold; the network does not run."""
        if found is None:
            return [self._gradio.skip()] * 7
        _remove(found)
        faces = at_least(found.faces, threshold)
        try:
            image = self.read(found.picture)
        except ImageError as error:
            return _error(error)
        # A new folder: browsers would not load a file of the same address again.
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        name = found.picture.name  # as the visitor knows it
        frame = Frame(Source('image', name, PurePath(found.picture.stem)), image)
        for writer in (DrawnFiles, JsonLines, Csv):
            with closing(writer(folder)) as file:
                file.write(frame, faces)
        (drawn,) = folder.glob('*_faces.jpg')
        files = [str(folder / name) for name in (drawn, 'faces.jsonl', 'faces.csv')]
        scores, boxes = (x.astype(float) for x in (faces.scores, faces.bboxes))
        rows = np.column_stack(
            (np.arange(len(faces)) + 1, scores.round(3), boxes.round(1))
        )
        status = f'<b>{len(faces)} faces</b> with a score of {threshold:.2f} or more '
        limit = ', the most that are looked for' if faces.limit_reached else ''
        state = replace(found, folder=folder)
        status += found.text + limit
        return [status, files[0], rows.tolist(), *files, state]

    def detect(self, picture: Path, multi_scale: bool = False) -> Found:
        """Run the detector on a file.

        Raises:
            ImageError: If it is not a usable picture. The message names it without its
                folder, which is none of a visitor's business.
        """
        image = self.read(picture)
        multi_scale = multi_scale and self.detector.has_multi_scale
        start = time.perf_counter()
        try:
            faces = self.detector.detect(
                image, max_size=self.max_size, multi_scale=multi_scale
            )
        except ImageError as error:
            raise ImageError(f'{picture.name}: {error}') from error
        text = (
            f'in {html.escape(picture.name)}, {faces.width} × {faces.height} pixels; '
            f'detected in {time.perf_counter() - start:.2f} s'
            + (', multi-scale test' if multi_scale else '')
        )
        return Found(picture, faces, text)

    def read(self, picture: Path) -> np.ndarray:
        """Read an upload, uint8 (H, W, 3), BGR; raise an ImageError as ``detect``."""
        name = picture.name
        try:
            # Reads no more than the file's head. OpenCV may find another size than
            # Pillow, so tools/deployment/webdemo.py limits it as well.
            with Image.open(picture) as image:
                width, height = image.size
            if width * height > MAX_PIXELS:
                raise ImageError(
                    f'{name} has {width} × {height} pixels, more than '
                    f'{MAX_PIXELS / 1e6:.0f} million'
                )
            return self.detector.read(picture)
        except Image.DecompressionBombError as error:  # Pillow's own limit
            raise ImageError(f'{name} has too many pixels') from error
        except FileNotFoundError as error:
            raise ImageError(f'{name} is no longer kept: drop it once more') from error
        except UnidentifiedImageError as error:
            raise ImageError(f'{name} is no picture, or a damaged one') from error
        except (OSError, ValueError) as error:
            raise ImageError(str(error).replace(str(picture), name)) from error


def at_least(faces: FaceDetections, threshold: float) -> FaceDetections:
    """Keep the faces that have a score of at least a threshold."""
    number = int(np.count_nonzero(faces.scores >= threshold))
    return replace(
        faces,
        bboxes=faces.bboxes[:number],
        scores=faces.scores[:number],
        limit_reached=faces.limit_reached and number == len(faces),
    )


def _remove(found: Found | None) -> None:
    """Delete the files that are shown."""
    if found is not None and found.folder is not None:
        shutil.rmtree(found.folder, ignore_errors=True)


def _error(error: ImageError) -> list[Any]:
    message = html.escape(str(error))
    return _nothing(f'<span class="error" role="alert">{message}</span>')


def _nothing(status: str) -> list[Any]:
    """Empty all outputs but the status."""
    return [status, None, [], *[None] * len(DOWNLOADS), None]


def own_pages_only(app: Callable) -> Callable:
    """Refuse requests that another site makes a browser send (ASGI middleware).

    The Host header is the name by which the browser found this machine; a site may give
    it a name of its own. Origin is the page that asks.
    """

    async def guarded(scope: dict, receive: Callable, send: Callable) -> None:
        if scope['type'] in ('http', 'websocket') and not _is_own(scope['headers']):
            from starlette.responses import PlainTextResponse

            text = 'refused: this page is for this machine only (see --host)\n'
            await PlainTextResponse(text, 403)(scope, receive, send)
        else:
            await app(scope, receive, send)

    return guarded


def _is_own(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    hosts = [value.lower() for name, value in headers if name == b'host']
    origins = [value for name, value in headers if name == b'origin']
    names = [host.partition(b':')[0] for host in hosts]
    if names not in ([b'127.0.0.1'], [b'localhost']):
        return False
    return all(origin == b'http://' + hosts[0] for origin in origins)
