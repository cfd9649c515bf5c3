"""Routes of templates."""

from __future__ import annotations

import msgspec

from opscore.api.answer import created, ok
from opscore.api.body import TEMPLATE_TYPES
from opscore.api.call import Call
from opscore.api.problems import pointed
from opscore.api.route import Reply, Routes
from opscore.api.views import workflow_summary, workflow_view
from opscore.core.errors import Invalid
from opscore.core.lint import Findings
from opscore.planning import plan_template
from opscore.templates import check_template
from opscore.wire.queries import PageQuery
from opscore.wire.session import (
    PlanRequest,
    WorkflowChecked,
    WorkflowCreated,
    WorkflowPage,
    WorkflowPlan,
    WorkflowView,
)

routes = Routes("workflow")


@routes.body(
    "POST",
    "/workflow",
    "operate",
    bytes,
    {201: WorkflowCreated, 200: WorkflowCreated},
    media_types=TEMPLATE_TYPES,
)
async def create_workflow(call: Call, body: bytes) -> Reply:
    """Create a template version from JSON or YAML; the same content again changes nothing."""
    record = await call.engine.orchestration.create_workflow(
        body, name_hint=_hint(call), namespace=call.namespace, actor=call.actor
    )
    answer = WorkflowCreated(
        name=record.name, version=record.version, digest=record.digest, created=record.created
    )
    return (created if record.created else ok)(answer)


@routes.body(
    "POST",
    "/workflow/validate",
    "session:read",
    bytes,
    {200: WorkflowChecked},
    media_types=TEMPLATE_TYPES,
    changes=False,
)
async def validate_workflow(call: Call, body: bytes) -> Reply:
    """Check a template without storing it; the answer lists every mistake and every warning."""
    if not body:
        raise Invalid("The request has no body.")
    try:
        found = check_template(
            body,
            name=_hint(call),
            review=lambda template: call.engine.review(template, call.namespace),
        )
    except Invalid as invalid:
        found = Findings(list(invalid.faults))
    return ok(
        WorkflowChecked(
            valid=not found.faults,
            errors=[msgspec.to_builtins(pointed(fault)) for fault in found.faults],
            warnings=[msgspec.to_builtins(pointed(fault)) for fault in found.warnings],
        )
    )


@routes.body(
    "POST",
    "/workflow/plan",
    "session:read",
    PlanRequest,
    {200: WorkflowPlan},
)
async def plan_workflow(call: Call, body: PlanRequest) -> Reply:
    """What a template would do with an input: order, what runs side by side, worst cases."""
    return ok(msgspec.convert(plan_template(body.template, body.input), WorkflowPlan))


def _hint(call: Call) -> str:
    """What messages call the body; the ending tells the reader its form."""
    is_json = (call.header(b"content-type") or "").lower().startswith("application/json")
    return "template.json" if is_json else "template.yaml"


@routes.query("/workflow", "session:read", PageQuery, {200: WorkflowPage})
async def list_workflows(call: Call, query: PageQuery) -> Reply:
    """List templates, each in its latest created version."""
    page = await call.engine.orchestration.list_workflows(
        cursor=query.cursor, limit=query.limit, namespace=call.namespace
    )
    workflows = [workflow_summary(one) for one in page.items]
    return ok(WorkflowPage(workflows=workflows, next_cursor=page.next_cursor))


@routes.plain("GET", "/workflow/{name}", "session:read", {200: WorkflowView})
async def get_workflow(call: Call) -> Reply:
    """Read the latest created version of a template."""
    record = await call.engine.orchestration.get_workflow(
        call.part("name"), namespace=call.namespace
    )
    return ok(workflow_view(record))


@routes.plain("GET", "/workflow/{name}/{version}", "session:read", {200: WorkflowView})
async def get_workflow_version(call: Call) -> Reply:
    """Read one version of a template."""
    record = await call.engine.orchestration.get_workflow(
        call.part("name"), call.part("version"), namespace=call.namespace
    )
    return ok(workflow_view(record))
