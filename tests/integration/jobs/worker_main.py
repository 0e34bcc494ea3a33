"""A worker process of these tests: `worker_main.py ADDRESS NAME`, settings from the environment."""

import sys

from services.common.jobs.worker import Employer, Worker
from services.common.logs import configure_logging
from services.common.settings import CommonSettings

if __name__ == "__main__":
    configure_logging("INFO", "text")
    names = ("add", "refuse", "crash", "wait", "linger")
    kinds = {name: f"tests.integration.jobs.bodies:{name}" for name in names}
    employer = Employer(service="test_svc", address=sys.argv[1], kinds=kinds, preload=["tests.integration.jobs.bodies"])
    Worker([employer], ["cpu"], 1, CommonSettings(), name=sys.argv[2]).run()
