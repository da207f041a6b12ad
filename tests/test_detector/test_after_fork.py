import os
import signal
import time

import torch


def test_a_used_detector_works_in_a_forked_child(detector, make_image):
    """With two threads it would wait for ever for those of its parent."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        image = make_image(0, 400, 500)
        number = len(detector.detect(image))
        child = os.fork()
        if not child:
            try:
                same = len(detector.detect(image)) == number
                os._exit(0 if same and torch.get_num_threads() == 1 else 1)
            finally:
                os._exit(2)
        end = time.monotonic() + 60
        while not (ended := os.waitpid(child, os.WNOHANG))[0]:
            if time.monotonic() > end:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                raise AssertionError('it hangs')
            time.sleep(0.05)
        assert os.waitstatus_to_exitcode(ended[1]) == 0
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
