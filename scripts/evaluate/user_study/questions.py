"""The paper's seven questions (supplement, user study), with a short name for charts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """A question, its hint, the key in answer files and the name in charts."""

    key: str
    name: str
    text: str
    hint: str = ""


QUESTIONS = (
    Question(
        "motion",
        "Motion realism",
        "Which video has more realistic motion?",
        "Take into consideration the magnitude, smoothness, and consistency of the motion. Pay "
        "close attention to the deformed limbs of humans and animals and unnatural deformations.",
    ),
    Question("foreground", "Foreground quality", "Which video has the highest quality foreground?"),
    Question("background", "Background quality", "Which video has the highest quality background?"),
    Question(
        "shape",
        "Shape realism",
        "Which video has an object of a better, more realistic shape?",
        "That is the video in which the main object has the most natural shape, again paying "
        "attention to deformed limbs of humans and animals and unnatural deformations.",
    ),
    Question("overall", "Overall quality", "In general, which video looks higher quality?"),
    Question(
        "dynamics",
        "Dynamics",
        "Which video is most dynamic: which contains the most motion?",
        "These are several views of the same dynamic video, played one after the other: ignore all "
        "camera movement and focus solely on object movement, without random limb deformations.",
    ),
    Question(
        "text",
        "Text alignment",
        "Which video is better following the text description?",
        "Which reflects all the aspects included in the text description?",
    ),
)
