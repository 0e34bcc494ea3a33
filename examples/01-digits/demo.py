"""What `make demo` runs: the platform comes up, the lifecycle goes through it, and three clients ask the result.

    python examples/01-digits/demo.py

A platform that runs already is used and left running; one that is started here is stopped at the end.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import tritonclient.grpc
import tritonclient.http
from prepare import prepare

from modelwright import Client

HERE = Path(__file__).resolve().parent
MODELWRIGHT = [sys.executable, "-m", "modelwright.cli"]
HOME = Path(os.environ.get("MODELWRIGHT_HOME", ".modelwright")).absolute()
ASKED = 20


def modelwright(*arguments: str) -> str:
    """Run a command, showing it; return what it wrote to standard output. Its progress goes to standard error."""
    print("$ modelwright", *arguments, flush=True)
    done = subprocess.run([*MODELWRIGHT, *arguments], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout


def show(*arguments: str) -> None:
    """Run a command whose output is for the reader."""
    print(modelwright(*arguments), end="", flush=True)


def ask_gateway(client: Client, picture: Path) -> str:
    """Ask through the gateway's REST."""
    return client.deployments.predict_image("digits", picture.read_bytes(), "image/png").predictions[0].label


def ask_protocol(client: object, module: object, picture: Path) -> str:
    """Ask by the Open Inference Protocol with Triton's own client; the server decodes the picture."""
    tensor = module.InferInput("image", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([picture.read_bytes()], dtype=object))
    name = client.get_model_metadata("digits")
    name = name["outputs"][0]["name"] if isinstance(name, dict) else name.outputs[0].name
    wanted = module.InferRequestedOutput(name, class_count=1)
    answer = client.infer("digits", [tensor], outputs=[wanted]).as_numpy(name)
    return answer.ravel()[0].decode().split(":")[-1]


def compare(addresses: dict[str, str]) -> None:
    """Ask all three ways for some pictures and say whether they agree."""
    pictures = sorted((HERE / "data" / "digits").rglob("*.png"))[:: 1797 // ASKED][:ASKED]
    gateway = Client()
    http = tritonclient.http.InferenceServerClient(urlsplit(addresses["inference_rest"]).netloc)
    grpc = tritonclient.grpc.InferenceServerClient(addresses["inference_grpc"])
    answers = [
        (ask_gateway(gateway, p), ask_protocol(http, tritonclient.http, p), ask_protocol(grpc, tritonclient.grpc, p))
        for p in pictures
    ]
    right = sum(answer[0] == picture.parent.name for answer, picture in zip(answers, pictures, strict=True))
    agreed = sum(len(set(answer)) == 1 for answer in answers)
    print(f"{len(answers)} pictures asked by REST, by OIP over HTTP and by OIP over gRPC: ", end="")
    print(f"the three agree on {agreed}, {right} are right\n", flush=True)
    if agreed < len(answers):
        sys.exit("the three ways to ask do not agree")


def main() -> None:
    """Run the example from nothing to answers."""
    print(f"{prepare(HERE / 'data' / 'digits')} pictures written to {HERE / 'data' / 'digits'}")
    was_up = (HOME / "platform.json").exists()
    show("up", "--detach")
    state = json.loads((HOME / "platform.json").read_text())
    os.environ["MODELWRIGHT_URL"] = state["url"]
    try:
        lifecycle = json.loads(modelwright("apply", "-f", str(HERE / "lifecycle.yaml"), "--no-follow", "-o", "json"))
        modelwright("lifecycle", "watch", lifecycle["id"])
        compare(state["addresses"])
        show("lifecycle", "show", lifecycle["id"])
    finally:
        if not was_up:
            modelwright("down")
            print("The platform was stopped; its state is kept. `make up` starts it again and leaves it running.")


if __name__ == "__main__":
    main()
