"""Bodies of the routes of pilots' secrets and tokens (rest-diracx.md, section 7, unreleased routes)."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rest_backend.models.pilots import PilotStatus, Stamp

# Secrets or pilots made by one request.
MOST_AT_ONCE = 1_000

VoName = Annotated[str, Field(min_length=1, max_length=64)]
# None: as often as one likes.
UseCount = Annotated[int, Field(ge=1, le=2**31)] | None
# Of a year, None: without end.
Minutes = Annotated[int, Field(ge=1, le=527_040)] | None


class SecretExchange(BaseModel):
    """A pilot's secret for its first token.

    With ``vo`` it is a vacuum pilot's, which is registered if its stamp is new.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    pilot_stamp: Stamp
    pilot_secret: Annotated[str, Field(min_length=1, max_length=256, repr=False)]
    vo: VoName | None = None
    grid_type: Annotated[str, Field(max_length=32)] = "Dirac"
    grid_site: Annotated[str, Field(max_length=128)] = "Unknown"
    status: PilotStatus = PilotStatus.RUNNING


class PilotRefresh(BaseModel):
    """A pilot's refresh token, for a new pair of tokens."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    refresh_token: Annotated[str, Field(max_length=16_384, repr=False)]
    pilot_stamp: Stamp


class NewSecrets(BaseModel):
    """Secrets for pilots of one VO that come later.

    ``expiration_minutes`` null: they are good for ever; left out: as long as the configuration says.
    ``pilot_secret_use_count_max`` null: as often as one likes.
    """

    model_config = ConfigDict(extra="forbid")

    n: Annotated[int, Field(ge=1, le=MOST_AT_ONCE)] = 1
    expiration_minutes: Minutes = None
    pilot_secret_use_count_max: UseCount = 1
    vo: VoName


class PilotSecret(BaseModel):
    """A secret, shown once; the time (epoch, seconds) is null where it is good for ever."""

    pilot_secret: str = Field(repr=False)
    pilot_secret_expires_in: int | None


class SecretConstraints(BaseModel):
    """Who may use a secret: an empty list forbids nothing, a list that is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")

    VOs: Annotated[list[VoName], Field(max_length=1_000)] | None = None
    PilotStamps: Annotated[list[Stamp], Field(max_length=1_000)] | None = None
    Sites: Annotated[list[str], Field(max_length=1_000)] | None = None


class PilotsRegistration(BaseModel):
    """New pilots of one VO, each with a secret of its own unless there shall be none."""

    model_config = ConfigDict(extra="forbid")

    pilot_stamps: Annotated[list[Stamp], Field(min_length=1, max_length=MOST_AT_ONCE)]
    vo: VoName
    grid_type: Annotated[str, Field(max_length=32)] = "Dirac"
    grid_site: Annotated[str, Field(max_length=128)] = "Unknown"
    destination_site: Annotated[str, Field(max_length=128)] = "NotAssigned"
    pilot_references: dict[str, Annotated[str, Field(max_length=255)]] = {}
    pilot_status: PilotStatus = PilotStatus.SUBMITTED
    generate_secrets: bool = True
    pilot_secret_use_count_max: UseCount = 1

    @model_validator(mode="after")
    def _stamps_are_one_each(self) -> Self:
        if len(set(self.pilot_stamps)) < len(self.pilot_stamps):
            raise ValueError("a stamp is named twice in pilot_stamps")
        if strangers := sorted(self.pilot_references.keys() - set(self.pilot_stamps)):
            raise ValueError(f"pilot_references names stamps that are not in pilot_stamps: {strangers[:3]}")
        return self


class RegisteredPilot(BaseModel):
    """A pilot's stamp and secret, shown once; without secret where none was wanted."""

    pilot_stamp: str
    pilot_secret: str | None = Field(repr=False)
    pilot_secret_expires_in: int | None
