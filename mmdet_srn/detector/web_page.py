"""The page of tools/webdemo.py, made with Gradio."""

import html
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .images import ImageError
from .web_results import Finding, Shown, WebResults

if TYPE_CHECKING:
    import gradio

TITLE = 'Find faces'
STYLE = """
.gradio-container { max-width: 1280px !important; margin: 0 auto !important; }
#status { font-size: 1.05em; min-height: 1.6em; }
#status .error { color: #b91c1c; font-weight: 600; }
.dark #status .error { color: #fca5a5; }
#drawn img { width: 100%; height: 100%; object-fit: contain; }
"""


def load_gradio() -> ModuleType:
    """Imports Gradio.

    Raises:
        ImportError: If it is missing; the message says what to install.
    """
    try:
        import gradio
    except ImportError as error:
        raise ImportError(
            f'the page needs Gradio: pip install "mmdet_srn[web]" ({error})'
        ) from error
    return gradio


class WebPage:
    """A page on which to drop a picture and see its faces.

    Requests are done one after the other, as the detector wants it.

    Args:
        results: Detects and shows.
        model: What the page calls the model.
        score_thr: Where the slider of the least score stands at first. Defaults to
            0.5.
        kept: Seconds for which files are kept at least, and at most 7/6 of that.
            Defaults to 3600.

    Raises:
        ImportError: If Gradio is missing.
    """

    def __init__(
        self,
        results: WebResults,
        model: str,
        score_thr: float = 0.5,
        kept: int = 3600,
    ) -> None:
        self.results = results
        self.model = model
        self.score_thr = score_thr
        self.kept = kept
        self._gradio = load_gradio()

    @contextmanager
    def serve(
        self, host: str | None = None, port: int | None = None, max_upload: int = 20
    ) -> Iterator[str]:
        """Serves the page as long as the context lasts.

        Args:
            host: Address to listen at. Defaults to None: this machine only, and then
                requests are refused that name another host, or come from the page of
                another one (a visited site could send them).
            port: Port. Defaults to None: the first free one from 7860.
            max_upload: Largest file in megabytes. Defaults to 20.

        Yields:
            str: Address of the page.

        Raises:
            OSError: If it cannot listen there.
        """
        with _environment(self.results.folder):
            blocks = self._build()
            blocks.queue(max_size=20, default_concurrency_limit=1, api_open=False)
            address = self._launch(blocks, host, port, max_upload)
            try:
                yield address
            finally:
                blocks.close(verbose=False)

    def _launch(
        self,
        blocks: 'gradio.Blocks',
        host: str | None,
        port: int | None,
        max_upload: int,
    ) -> str:
        options: dict[str, Any] = dict(docs_url=None, redoc_url=None, openapi_url=None)
        if host is None:
            host = '127.0.0.1'
            from starlette.middleware import Middleware  # Gradio brings it

            options['middleware'] = [Middleware(_OwnPagesOnly)]
        try:
            return blocks.launch(
                server_name=host,
                server_port=port,
                max_file_size=f'{max_upload}mb',
                prevent_thread_lock=True,
                quiet=True,
                inbrowser=False,
                share=False,
                show_error=True,
                allowed_paths=[],
                enable_monitoring=False,
                mcp_server=False,
                pwa=False,
                ssr_mode=False,
                footer_links=[],
                state_session_capacity=100,
                app_kwargs=options,
                # The system's fonts: no others have to be fetched.
                theme=self._gradio.themes.Default(
                    font=['system-ui', 'sans-serif'],
                    font_mono=['ui-monospace', 'monospace'],
                ),
                css=STYLE,
            )[1]
        except OSError as error:
            raise OSError(
                f'cannot listen at {host}, port {port or "7860 to 7959"}: taken, or no '
                'address of this machine'
            ) from error

    def _build(self) -> 'gradio.Blocks':
        gr = self._gradio
        detector = self.results.detector
        with gr.Blocks(
            title=TITLE,
            analytics_enabled=False,
            delete_cache=(max(self.kept // 6, 1), self.kept),
        ) as blocks:
            gr.HTML(_introduction(self.model, self.kept))
            with gr.Row():
                with gr.Column(scale=1, min_width=280):
                    upload = gr.File(
                        label='Picture', height=170, elem_id='picture', type='filepath'
                    )
                    threshold = gr.Slider(
                        detector.score_thr or 0.0,
                        1.0,
                        value=self.score_thr,
                        step=0.01,
                        label='Least score',
                        info='Moving it does not run the network again.',
                        elem_id='threshold',
                    )
                    multi_scale = gr.Checkbox(
                        label='Multi-scale test',
                        info='Slower; finds more small and large faces.'
                        if detector.has_multi_scale
                        else 'Needs a config with a tta_model.',
                        interactive=detector.has_multi_scale,
                        elem_id='multi-scale',
                    )
                    with gr.Row():
                        downloads = [
                            gr.DownloadButton(
                                f'↓ {text}',
                                interactive=False,
                                size='sm',
                                min_width=80,
                                elem_id=f'download-{text.lower()}',
                            )
                            for text in ('Picture', 'JSON', 'CSV')
                        ]
                with gr.Column(scale=3, min_width=320):
                    status = gr.HTML(elem_id='status')
                    drawn = gr.Image(
                        label='Faces',
                        type='filepath',
                        interactive=False,
                        height=540,
                        buttons=['fullscreen'],
                        elem_id='drawn',
                    )
                    table = gr.Dataframe(
                        headers=['face', 'score', 'x1', 'y1', 'x2', 'y2'],
                        datatype='number',
                        column_count=6,
                        interactive=False,
                        max_height=260,
                        label='Boxes, in pixels of the picture as it is displayed',
                        elem_id='boxes',
                    )
            found, shown = gr.State(), gr.State()
            outputs = [status, drawn, table, *downloads, found, shown]
            # One queue for all.
            once = dict(concurrency_id='page', concurrency_limit=1)
            once |= dict(api_visibility='private', show_progress_on=drawn)
            for event in (upload.upload, upload.clear, multi_scale.change):
                event(
                    self._detect,
                    [upload, multi_scale, threshold, shown],
                    outputs,
                    **once,
                )
            threshold.change(
                self._show,
                [found, threshold, shown],
                outputs,
                trigger_mode='always_last',
                **once,
            )
        return blocks

    def _detect(
        self,
        upload: str | None,
        multi_scale: bool,
        threshold: float,
        before: Shown | None,
    ) -> list[Any]:
        if upload is None:
            return self._outputs('', before=before)
        try:
            found = self.results.detect(
                Path(upload), multi_scale and self.results.detector.has_multi_scale
            )
        except ImageError as error:
            return self._outputs(_error(error), before=before)
        return self._show(found, threshold, before)

    def _show(
        self, found: Finding | None, threshold: float, before: Shown | None
    ) -> list[Any]:
        if found is None:
            return [self._gradio.skip()] * 8
        try:
            shown = self.results.show(found, threshold)
        except ImageError as error:
            return self._outputs(_error(error), before=before)
        return self._outputs(_summary(found, shown, threshold), found, shown, before)

    def _outputs(
        self,
        status: str,
        found: Finding | None = None,
        shown: Shown | None = None,
        before: Shown | None = None,
    ) -> list[Any]:
        """Values of all outputs; what was shown before goes from the disk."""
        if before is not None:
            before.remove()
        files = (None,) * 3 if shown is None else (shown.drawn, shown.json, shown.csv)
        buttons = [
            self._gradio.DownloadButton(
                value=None if file is None else str(file), interactive=file is not None
            )
            for file in files
        ]
        return [
            status,
            None if shown is None else str(shown.drawn),
            [] if shown is None else shown.rows(),
            *buttons,
            found,
            shown,
        ]


class _OwnPagesOnly:
    """ASGI middleware that refuses requests which another site makes a browser send.

    The Host header is the name by which the browser has found this machine: a site may
    give it a name of its own. Origin is the page that asks.
    """

    def __init__(self, app: Callable) -> None:
        self.app = app

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        if scope['type'] in ('http', 'websocket') and not _is_own(scope['headers']):
            from starlette.responses import PlainTextResponse

            refusal = PlainTextResponse(
                'refused: this page is for this machine only (see --host)\n', 403
            )
            await refusal(scope, receive, send)
            return
        await self.app(scope, receive, send)


def _is_own(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    hosts = [value.lower() for name, value in headers if name == b'host']
    origins = [value for name, value in headers if name == b'origin']
    names = [host.partition(b':')[0] for host in hosts]
    if names not in ([b'127.0.0.1'], [b'localhost']):
        return False
    return all(origin == b'http://' + hosts[0] for origin in origins)


def _introduction(model: str, kept: int) -> str:
    return (
        f'<h1>{TITLE}</h1><p>Drop a picture. The boxes are those of '
        f'<b>{html.escape(model)}</b>, an SRN face detector (mmdet_srn). Pictures '
        'go nowhere but to the machine that serves this page, which deletes them '
        f'after {kept // 60} to {kept * 7 // 360} minutes.</p>'
    )


def _summary(found: Finding, shown: Shown, threshold: float) -> str:
    number, faces = len(shown.faces), shown.faces
    return (
        f'<b>{number} face{"" if number == 1 else "s"}</b> with a score of '
        f'{threshold:.2f} or more in {html.escape(found.picture.name)}, '
        f'{faces.width} × {faces.height} pixels; detected in {found.seconds:.2f} s'
        + (', multi-scale test' if found.multi_scale else '')
        + (', the most that are looked for' if faces.limit_reached else '')
    )


def _error(error: ImageError) -> str:
    return f'<span class="error" role="alert">{html.escape(str(error))}</span>'


@contextmanager
def _environment(folder: Path) -> Iterator[None]:
    """What Gradio reads from the environment, as long as the page is served."""
    wanted = dict(
        # It would count starts, and record visits in the visitors' browsers.
        GRADIO_ANALYTICS_ENABLED='False',
        GRADIO_RUN_HISTORY='False',
        # What is uploaded and shown lies there, and nothing else is served.
        GRADIO_TEMP_DIR=str(folder),
        GRADIO_ALLOWED_PATHS='',
    )
    # It looks whether its page answers; a proxy could not reach it.
    for name in ('NO_PROXY', 'no_proxy'):
        hosts = [host for host in os.environ.get(name, '').split(',') if host]
        wanted[name] = ','.join([*hosts, '127.0.0.1', 'localhost'])
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
