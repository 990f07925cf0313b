"""The shape of a draft: a policy that nobody has confirmed yet, and what is left to be answered in it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fwproof.policy.fields import Choice, Id, Title
from fwproof.policy.table_shapes import Common

DRAFT, AGREED = "draft", "agreed"


class QuestionShape(Common):
    """Something that a person has to decide before the policy is one."""

    id: Id = Field(description="Stable name of the question, used in check ids and reports")
    title: Title = Field(description="The question, in one line")


StatusField = Annotated[
    Annotated[str, Choice((DRAFT, AGREED))],
    Field(description="draft: nobody has confirmed it, and no audit of it passes; left out or agreed: it counts"),
]
QuestionsField = Annotated[
    list[QuestionShape], Field(description="What is left to be answered in a draft; each stays open in every report")
]
