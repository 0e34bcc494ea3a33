"""Speaks digits and commands in Mandarin and English with espeak-ng, in many voices, at many rates, in noise.

    python examples/03-speech-commands/prepare.py [FOLDER] [--scale 1.0] [--seed 7]

Writes FLAC files (16 kHz, 16 bits, one channel) and `transcripts.tsv`. The same seed gives the same files; a folder
that is whole already is left alone. No voice that is tested was learnt from.
"""

import argparse
import csv
import io
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import resample_poly

RATE = 16_000
COUNTS = {"train": 3000, "validation": 300, "test": 500}
VARIANTS = {
    "train": ("m1", "m2", "m3", "m4", "m5", "f1", "f2", "f3"),
    "validation": ("m6", "f4"),
    "test": ("m7", "f5"),
}
"""Voices of espeak-ng. Each is heard in one split alone."""
ACCENTS = {"zh": ("cmn-latn-pinyin",), "en": ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-029")}
DIGITS = {
    "zh": dict(zip("零一二三四五六七八九", "ling2 yi1 er4 san1 si4 wu3 liu4 qi1 ba1 jiu3".split(), strict=True)),
    "en": {word: word for word in "zero one two three four five six seven eight nine".split()},
}
COMMANDS = {
    "zh": {
        "打开灯": "da3kai1 deng1", "关闭灯": "guan1bi4 deng1", "调高音量": "tiao2gao1 yin1liang4",
        "调低音量": "tiao2di1 yin1liang4", "播放音乐": "bo1fang4 yin1yue4", "停止播放": "ting2zhi3 bo1fang4",
        "上一首": "shang4 yi1 shou3", "下一首": "xia4 yi1 shou3", "打开空调": "da3kai1 kong1tiao2",
        "关闭空调": "guan1bi4 kong1tiao2", "今天天气": "jin1tian1 tian1qi4", "现在几点": "xian4zai4 ji3 dian3",
        "设置闹钟": "she4zhi4 nao4zhong1", "取消闹钟": "qu3xiao1 nao4zhong1", "打开窗户": "da3kai1 chuang1hu5",
        "关上门": "guan1shang4 men2", "向左转": "xiang4 zuo3 zhuan3", "向右转": "xiang4 you4 zhuan3",
        "回家": "hui2jia1", "谢谢你": "xie4xie5 ni3",
    },
    "en": {text: text for text in (
        "turn on the light", "turn off the light", "volume up", "volume down", "play music", "stop playing",
        "previous song", "next song", "start the heater", "stop the heater", "what is the weather",
        "what time is it", "set an alarm", "cancel the alarm", "open the window", "close the door", "turn left",
        "turn right", "go home", "thank you",
    )},
}  # fmt: skip
"""What is written, and what espeak-ng reads: its Mandarin needs the sounds, tones and all."""
SHARE_OF_DIGITS, MOST_DIGITS = 0.4, 4
MISSING = "espeak-ng is not here. Install it: apt-get install espeak-ng (Debian, Ubuntu) or brew install espeak-ng."


@dataclass(frozen=True, kw_only=True)
class Line:
    """One utterance as it shall be: a line of transcripts.tsv."""

    id: str
    path: str
    split: str
    language: str
    speaker: str
    accent: str
    words_per_minute: int
    pitch: int
    snr_db: int
    text: str


def main() -> None:
    """Prepare the folder that train.yaml names, or the one given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent / "data" / "speech")
    parser.add_argument("--scale", type=float, default=1.0, help="share of 3000 + 300 + 500 utterances to make")
    parser.add_argument("--seed", type=int, default=7, help="of everything that is drawn")
    given = parser.parse_args()
    print(f"{prepare(given.folder, given.scale, given.seed)} files written to {given.folder}")


def prepare(folder: Path, scale: float = 1.0, seed: int = 7) -> int:
    """Write the corpus and return how many recordings were written."""
    if not shutil.which("espeak-ng"):
        sys.exit(MISSING)
    planned = list(plan(scale, seed))
    lines = [line for line, _ in planned]
    table, text = folder / "transcripts.tsv", write_table(lines)
    if table.is_file() and table.read_text("utf-8") == text and all((folder / line.path).is_file() for line in lines):
        return 0
    for split in COUNTS:
        (folder / split).mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor() as pool:
        numbered = enumerate(planned)
        list(pool.map(lambda item: speak(folder, *item[1], np.random.default_rng([seed, 1, item[0]])), numbered))
    # Last: a folder with its table is whole.
    table.write_text(text, "utf-8")
    return len(lines)


def plan(scale: float, seed: int) -> Iterator[tuple[Line, str]]:
    """Yield each utterance with what espeak-ng shall read."""
    chance = np.random.default_rng([seed, 0])
    for split, whole in COUNTS.items():
        for number in range(max(1, round(whole * scale))):
            language = ("zh", "en")[number % 2]
            text, spoken = draw_words(language, chance)
            name = f"{split}-{language}-{number:04}"
            line = Line(
                id=name,
                path=f"{split}/{name}.flac",
                split=split,
                language=language,
                speaker=str(chance.choice(VARIANTS[split])),
                accent=str(chance.choice(ACCENTS[language])),
                words_per_minute=int(chance.integers(120, 221)),
                pitch=int(chance.integers(20, 81)),
                snr_db=int(chance.integers(5, 31)),
                text=text,
            )
            yield line, spoken


def draw_words(language: str, chance: np.random.Generator) -> tuple[str, str]:
    """Return what is written and what is read: one to four digits, or a command."""
    if chance.random() < SHARE_OF_DIGITS:
        digits = DIGITS[language]
        drawn = [str(each) for each in chance.choice(list(digits), chance.integers(1, MOST_DIGITS + 1))]
        return ("" if language == "zh" else " ").join(drawn), " ".join(digits[each] for each in drawn)
    text = str(chance.choice(list(COMMANDS[language])))
    return text, COMMANDS[language][text]


def speak(folder: Path, line: Line, spoken: str, chance: np.random.Generator) -> None:
    """Write one recording: the voice with silence around it, noise over all, at a level of its own."""
    voice = synthesise(line, spoken)
    before, after = (np.zeros(chance.integers(RATE // 10, RATE // 2), np.float32) for _ in range(2))
    wave = np.concatenate((before, voice, after))
    hiss = noise(len(wave), chance)
    wave += hiss * np.sqrt((voice**2).mean() / (hiss**2).mean()) * 10 ** (-line.snr_db / 20)
    wave *= 10 ** (chance.uniform(-18, -1) / 20) / np.abs(wave).max()
    soundfile.write(folder / line.path, wave, RATE, format="FLAC", subtype="PCM_16")


def synthesise(line: Line, spoken: str) -> np.ndarray:
    """Return the voice of espeak-ng: float32 [samples] at 16 kHz."""
    command = ["espeak-ng", "-v", f"{line.accent}+{line.speaker}", "-s", str(line.words_per_minute), "-p",
               str(line.pitch), "-z", "--stdout", spoken]  # fmt: skip
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode or not done.stdout:
        sys.exit(f"espeak-ng cannot say {line.id}: {done.stderr.decode().strip()}\n{' '.join(command)}")
    wave, rate = soundfile.read(io.BytesIO(done.stdout), dtype="float32")
    common = np.gcd(rate, RATE)
    return resample_poly(wave, RATE // common, rate // common).astype(np.float32)


def noise(samples: int, chance: np.random.Generator) -> np.ndarray:
    """Return noise whose power falls with frequency to a random power, 0 (white) to 2 (brown)."""
    spectrum = np.fft.rfft(chance.standard_normal(samples))
    spectrum /= np.maximum(np.arange(len(spectrum)), 20 * samples / RATE) ** (chance.uniform(0, 2) / 2)
    return np.fft.irfft(spectrum, samples).astype(np.float32)


def write_table(lines: list[Line]) -> str:
    """Return transcripts.tsv."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", quoting=csv.QUOTE_NONE, lineterminator="\n")
    writer.writerow(field.name for field in fields(Line))
    writer.writerows(asdict(line).values() for line in lines)
    return text.getvalue()


if __name__ == "__main__":
    main()
