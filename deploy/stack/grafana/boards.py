"""The three dashboards: the fleet, one target, and one target's incident."""

from __future__ import annotations

from deploy.stack.grafana.panels import GREEN, ORANGE, RED, Board, Panel, Query, Row

__all__ = ["BOARDS"]

_CHOSEN = '{target="$target"}'
_BAD = ((None, GREEN), (1, RED))
_DOUBTFUL = ((None, GREEN), (1, ORANGE))
_UP = ((None, RED), (1, GREEN))
_YES_NO = {"0": "no", "1": "yes"}
_VERDICTS = (
    'sum by (instance, target) (2 * alignd_target_verdict{verdict="unsafe"} '
    'or alignd_target_verdict{verdict="inconclusive"})'
)


def _stat(title: str, expr: str, **more: object) -> Panel:
    return Panel(title=title, queries=(Query(expr=expr),), kind="stat", width=4, height=4, **more)  # type: ignore[arg-type]


_FLEET = Board(
    uid="alignd-fleet",
    title="alignd: fleet",
    rows=(
        Row(title="Now", panels=(
            _stat("Targets", "count(alignd_target_up)"),
            _stat("Not seen", "count(alignd_target_up) - sum(alignd_target_up)", steps=_BAD, runbook="AligndBlind"),
            _stat("Unsafe", 'sum(alignd_target_verdict{verdict="unsafe"})', steps=_BAD, runbook="AligndBreach"),
            _stat("Open incidents", 'sum(alignd_incident_state{state!~"RECOVERED|DISMISSED|ESCALATED"})',
                  steps=_DOUBTFUL, runbook="AligndIncidentOpen"),
            _stat("Wait for a person", "sum(alignd_action_needed)", steps=_BAD, runbook="AligndActionNeeded"),
            _stat("Paused", "sum(alignd_target_paused)", steps=_DOUBTFUL, runbook="AligndPausedLong"),
        )),
        Row(title="Safety", panels=(
            Panel(title="Verdict", kind="state-timeline", width=24, opens="alignd-target",
                  about="Certified by the sequential test, breached, or not known.",
                  queries=(Query(expr=_VERDICTS, legend="{{target}}"),),
                  names={"0": "safe", "1": "inconclusive", "2": "unsafe"},
                  steps=((None, GREEN), (1, ORANGE), (2, RED))),
            Panel(title="ASR against its limit", unit="percentunit", least=0, opens="alignd-target",
                  about="Running share of survey probes judged harmful, over p0; 100 % is the limit.",
                  queries=(Query(expr="alignd_asr_ratio / on (instance, target) group_left () alignd_asr_limit_ratio",
                                 legend="{{target}} {{release}}"),),
                  steps=((None, GREEN), (1, RED)), runbook="AligndASROverLimit"),
            Panel(title="Evidence against its threshold", unit="percentunit", opens="alignd-target",
                  about="Natural log of the evidence over that of gamma_breach; 100 % is a breach.",
                  queries=(Query(expr="alignd_asr_log_evidence / on (instance, target) group_left () "
                                      'alignd_asr_log_evidence_threshold{level="breach"}',
                                 legend="{{target}} {{release}}"),),
                  steps=((None, GREEN), (1, RED)), runbook="AligndBreach"),
            Panel(title="Safety budget left of 30 days", unit="percentunit", most=1, opens="alignd-target",
                  queries=(Query(expr="target:alignd_safety_budget:remaining30d", legend="{{target}}"),),
                  steps=((None, RED), (0, GREEN)), runbook="AligndSafetyBudgetBurn"),
            Panel(title="Incidents by state", kind="table", opens="alignd-incident",
                  queries=(Query(expr="alignd_incidents > 0", instant=True),)),
        )),
        Row(title="Watching", panels=(
            Panel(title="Since the last sweep", unit="s", opens="alignd-target",
                  queries=(Query(expr="time() - alignd_last_sweep_timestamp_seconds", legend="{{target}}"),),
                  runbook="AligndSweepsStale"),
            Panel(title="Sweeps", unit="ops", about="Exemplars carry the sweep's id, as in the log.",
                  queries=(Query(expr="sum(rate(alignd_sweeps_total[5m]))", legend="begun"),
                           Query(expr="sum(rate(alignd_sweeps_failed_total[5m]))", legend="without an answer")),
                  runbook="AligndBlind"),
            Panel(title="Begun late by", unit="s",
                  queries=(Query(expr="alignd_schedule_lag_seconds", legend="{{work}}"),),
                  steps=((None, GREEN), (60, ORANGE)), runbook="AligndScheduleLate"),
            Panel(title="Jobs that went wrong", queries=(
                Query(expr="sum by (work) (increase(alignd_schedule_missed_total[5m]))", legend="{{work}} missed"),
                Query(expr="sum by (work) (increase(alignd_schedule_failures_total[5m]))", legend="{{work}} failed"),
            ), runbook="AligndJobFailing"),
            Panel(title="Firing alerts", kind="table",
                  queries=(Query(expr='ALERTS{alertname=~"Alignd.+", alertstate="firing"}', instant=True),)),
            Panel(title="Daemon", kind="table", queries=(Query(expr="alignd_build_info", instant=True),),
                  runbook="AligndAway"),
        )),
    ),
)  # fmt: skip

_TARGET = Board(
    uid="alignd-target",
    title="alignd: target",
    of_a_target=True,
    rows=(
        Row(title="Now", panels=(
            _stat("Seen", f"alignd_target_up{_CHOSEN}", steps=_UP, names=_YES_NO, runbook="AligndBlind"),
            _stat("Verdict", _VERDICTS.replace('"}', '", target="$target"}'),
                  steps=((None, GREEN), (1, ORANGE), (2, RED)),
                  names={"0": "safe", "1": "inconclusive", "2": "unsafe"}, runbook="AligndBreach"),
            _stat("Waits for a person", f"alignd_action_needed{_CHOSEN}", steps=_BAD, names=_YES_NO,
                  runbook="AligndActionNeeded"),
            _stat("Judge frozen", f"alignd_judge_frozen{_CHOSEN}", steps=_BAD, names=_YES_NO,
                  runbook="AligndJudgeFrozen"),
            _stat("First tokens moved", f"alignd_tripwire_tripped{_CHOSEN}", steps=_DOUBTFUL, names=_YES_NO,
                  runbook="AligndTripwireTripped"),
            _stat("Probe rate", f"alignd_probe_urgency_ratio{_CHOSEN}", unit="percentunit",
                  steps=((None, GREEN), (0.5, ORANGE)), runbook="AligndWarning"),
        )),
        Row(title="Safety", panels=(
            Panel(title="ASR", unit="percentunit", least=0, runbook="AligndASROverLimit",
                  about="With its anytime-valid interval, 95 %, and the limit p0.", queries=(
                Query(expr=f"alignd_asr_ratio{_CHOSEN}", legend="{{release}}"),
                Query(expr=f"alignd_asr_lower_ratio{_CHOSEN}", legend="{{release}} lower"),
                Query(expr=f"alignd_asr_upper_ratio{_CHOSEN}", legend="{{release}} upper"),
                Query(expr=f"alignd_asr_limit_ratio{_CHOSEN}", legend="limit"),
            )),
            Panel(title="Evidence", runbook="AligndBreach",
                  about="Natural log; it decides. Minus infinity until the first harmful answer.", queries=(
                Query(expr=f"alignd_asr_log_evidence{_CHOSEN}", legend="{{release}}"),
                Query(expr=f"alignd_asr_log_evidence_threshold{_CHOSEN}", legend="{{level}}"),
            )),
            Panel(title="HS", least=1, most=5, about="Mean harmfulness score, 1 to 5, with its interval.", queries=(
                Query(expr=f"alignd_hs_score{_CHOSEN}", legend="{{release}}"),
                Query(expr=f"alignd_hs_lower_score{_CHOSEN}", legend="{{release}} lower"),
                Query(expr=f"alignd_hs_upper_score{_CHOSEN}", legend="{{release}} upper"),
            )),
            Panel(title="Probes of the epoch", runbook="AligndProbesMissing", queries=(
                Query(expr=f"alignd_asr_probes{_CHOSEN}", legend="scored"),
                Query(expr=f"alignd_asr_missing_probes{_CHOSEN}", legend="missing"),
            )),
            Panel(title="Strata", kind="table", width=24, height=10, unit="percentunit", queries=(
                Query(expr=f"alignd_stratum_asr_ratio{_CHOSEN}", instant=True),
                Query(expr=f"alignd_stratum_asr_upper_ratio{_CHOSEN}", instant=True),
                Query(expr=f"alignd_stratum_null_ratio{_CHOSEN}", instant=True),
            ), hidden=("target",)),
            Panel(title="Evidence by stratum",
                  queries=(Query(expr=f"alignd_stratum_log_evidence{_CHOSEN}", legend="{{stratum}}"),)),
            Panel(title="Beside the last good release", about="Natural log of evidence by pairs of answers.",
                  queries=(Query(expr=f"alignd_canary_log_evidence{_CHOSEN}", legend="{{side}}"),)),
        )),
        Row(title="Judge and first tokens", panels=(
            Panel(title="Judge", unit="percentunit", most=1, runbook="AligndJudgeFrozen", queries=(
                Query(expr=f"alignd_judge_sensitivity_ratio{_CHOSEN}", legend="sensitivity {{bound}}"),
                Query(expr=f"alignd_judge_specificity_ratio{_CHOSEN}", legend="specificity {{bound}}"),
            )),
            Panel(title="Evidence that they changed", runbook="AligndTripwireTripped", queries=(
                Query(expr=f"alignd_judge_log_evidence{_CHOSEN}", legend="judge"),
                Query(expr=f"alignd_judge_log_evidence_threshold{_CHOSEN}", legend="freezes the judge"),
                Query(expr=f"alignd_tripwire_log_evidence{_CHOSEN}", legend="first tokens"),
            )),
        )),
        Row(title="Serving", panels=(
            Panel(title="Up", kind="table", runbook="AligndDeploymentMismatch", hidden=("target",), queries=(
                Query(expr=f"alignd_deployment_info{_CHOSEN}", instant=True),
                Query(expr=f"alignd_deployment_mismatch{_CHOSEN}", instant=True),
            )),
            Panel(title="Releases", kind="table", unit="percentunit", hidden=("target",),
                  runbook="AligndReleaseUnknown",
                  queries=(
                Query(expr='alignd_release_asr_ratio{target="$target", bound="value"}', instant=True),
                Query(expr='alignd_release_over_refusal_ratio{target="$target", bound="value"}', instant=True),
                Query(expr=f"alignd_release_good{_CHOSEN}", instant=True),
            )),
        )),
    ),
)  # fmt: skip

_INCIDENT = Board(
    uid="alignd-incident",
    title="alignd: incident",
    of_a_target=True,
    rows=(
        Row(title="The newest incident of the target", panels=(
            Panel(title="State", kind="state-timeline", width=24, height=7, runbook="AligndIncidentStuck",
                  queries=(Query(expr=f"alignd_incident_state{_CHOSEN} == 1", legend="{{state}}"),),
                  names={"1": "now"}),
            Panel(title="Time in each state", kind="bargauge", unit="s", runbook="AligndIncidentStuck",
                  queries=(Query(expr=f"alignd_incident_stage_seconds{_CHOSEN}", legend="{{state}}", instant=True),)),
            Panel(title="Who serves", runbook="AligndDeploymentMismatch", least=0, most=1, queries=(
                Query(expr='max by (release) (alignd_deployment_info{target="$target", traffic="yes"})',
                      legend="{{release}}"),
            )),
            Panel(title="ASR of who serves", unit="percentunit", least=0, runbook="AligndBreach", queries=(
                Query(expr=f"alignd_asr_ratio{_CHOSEN}", legend="{{release}}"),
                Query(expr=f"alignd_asr_upper_ratio{_CHOSEN}", legend="{{release}} upper"),
                Query(expr=f"alignd_asr_limit_ratio{_CHOSEN}", legend="limit"),
            )),
            Panel(title="Evidence", runbook="AligndBreach", queries=(
                Query(expr=f"alignd_asr_log_evidence{_CHOSEN}", legend="{{release}}"),
                Query(expr=f"alignd_asr_log_evidence_threshold{_CHOSEN}", legend="{{level}}"),
            )),
            Panel(title="Measured releases", kind="table", width=24, unit="percentunit", hidden=("target",),
                  about="The candidate beside the last known good release and the drifted one.", queries=(
                Query(expr=f"alignd_release_asr_ratio{_CHOSEN}", instant=True),
                Query(expr=f"alignd_release_over_refusal_ratio{_CHOSEN}", instant=True),
                Query(expr=f"alignd_release_share_scoring_5_ratio{_CHOSEN}", instant=True),
            )),
            Panel(title="Sweeps", unit="ops", queries=(
                Query(expr=f"rate(alignd_sweeps_total{_CHOSEN}[5m])", legend="begun"),
                Query(expr=f"rate(alignd_sweeps_failed_total{_CHOSEN}[5m])", legend="without an answer"),
            )),
            Panel(title="Put back into service", runbook="AligndMendsRepeat",
                  queries=(Query(expr=f"increase(alignd_deployment_mends_total{_CHOSEN}[1h])", legend="in an hour"),)),
        )),
    ),
)  # fmt: skip

BOARDS = (_FLEET, _TARGET, _INCIDENT)
