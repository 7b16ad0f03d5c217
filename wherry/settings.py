"""The settings of the new side, from the configuration."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from rest_backend import settings
from shared_db.queries.leases import Terms
from shared_db.rules.stalling import JobPatience, Keeping, PilotPatience
from wherry import config
from wherry.config import Config


def settings_of(given: Config) -> settings.Settings:
    """What the configuration says about the new side."""
    return settings.Settings(
        auth=_auth(given.auth),
        jobs=settings.JobSettings(given.jobs.most_per_submission, given.jobs.optimise),
        sandboxes=_sandboxes(given.sandboxes),
        pilots=_pilots(given.pilots),
        tasks=_tasks(given.tasks),
        keeps_proxies=given.legacy is not None,
        http=settings.HttpSettings(
            public_url=given.rest.url if given.rest else "",
            largest_body=given.limits.body_bytes,
            body_seconds=given.limits.message_seconds,
            cors_origins=given.rest.cors_origins if given.rest else (),
            requests_per_minute=given.limits.requests_per_minute,
        ),
    )


def _auth(auth: config.Auth) -> settings.AuthSettings:
    return settings.AuthSettings(
        client_id=auth.client_id,
        redirect_uris=auth.redirect_uris,
        refresh_lifetime=timedelta(minutes=auth.refresh_token_minutes),
        device_flow_lifetime=timedelta(minutes=auth.device_flow_minutes),
        authorization_flow_lifetime=timedelta(minutes=auth.authorization_flow_minutes),
        pilot_secret_lifetime=timedelta(hours=auth.pilot_secret_hours),
        legacy_exchange_key_hash=auth.legacy_exchange_key_hash,
        providers={vo: _providers(given) for vo, given in auth.providers.items()},
    )


def _providers(given: config.Provider | tuple[config.NamedProvider, ...]) -> tuple[settings.Provider, ...]:
    if isinstance(given, config.Provider):
        return (_provider(given),)
    return tuple(replace(_provider(each), name=each.name, title=each.title, main=each.main) for each in given)


def _provider(provider: config.Provider) -> settings.Provider:
    return settings.Provider(
        provider.url, provider.client_id, provider.client_secret, provider.scope, provider.ca
    )


def _sandboxes(sandboxes: config.Sandboxes) -> settings.SandboxSettings:
    s3 = sandboxes.s3
    return settings.SandboxSettings(
        directory=sandboxes.directory,
        s3=_s3(s3) if s3 else None,
        largest=sandboxes.largest_bytes,
        url_seconds=sandboxes.url_seconds,
    )


def _s3(s3: config.S3) -> settings.S3Settings:
    return settings.S3Settings(s3.endpoint, s3.bucket, s3.region, s3.access_key, s3.secret_key, s3.ca)


def _pilots(pilots: config.Pilots) -> settings.PilotSettings:
    return settings.PilotSettings(
        refresh_lifetime=timedelta(hours=pilots.refresh_token_hours),
        lines_per_message=pilots.lines_per_message,
        longest_line=pilots.characters_per_line,
        largest_output=pilots.output_bytes,
        log_lifetime=timedelta(days=pilots.log_days) if pilots.log_days else None,
    )


def _tasks(tasks: config.Tasks) -> settings.TaskSettings:
    days = {"Done": tasks.done_days, "Failed": tasks.failed_days, "Killed": tasks.killed_days}
    return settings.TaskSettings(
        jobs=tasks.jobs,
        terms=Terms(timedelta(seconds=tasks.lease_seconds), timedelta(seconds=tasks.clock_seconds)),
        patience=JobPatience(
            stalled=timedelta(minutes=tasks.stalled_minutes),
            failed=timedelta(minutes=tasks.failed_minutes),
            submitting=timedelta(minutes=tasks.submitting_minutes),
            matched=timedelta(minutes=tasks.matched_minutes),
            rescheduled=timedelta(minutes=tasks.rescheduled_minutes),
            received=timedelta(minutes=tasks.received_minutes),
        ),
        keeping=Keeping(
            {status: timedelta(days=each) for status, each in days.items() if each},
            timedelta(hours=tasks.deleted_hours),
        ),
        pilots=PilotPatience(
            silent=timedelta(days=tasks.silent_pilot_days),
            removed=timedelta(days=tasks.pilot_days),
            aborted_removed=timedelta(days=tasks.aborted_pilot_days),
        ),
        proxy_log=timedelta(days=tasks.proxy_log_days),
    )
