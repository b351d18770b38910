"""Documents: theme, type and font → content → a visual template → the painter's page.

Stage 1 writes what stands on the page, stage 2 the prompt of a page with room for it; `merge` of
`synth.documents` makes one prompt of the two. The paper does not say how it does.
"""

from __future__ import annotations

from janus4o.records import Provenance, Row
from janus4o.synth import documents, writing
from janus4o.synth.attributes import draw_share
from janus4o.synth.calls import Calls
from janus4o.synth.documents import CATEGORIES, Content, Template
from janus4o.synth.pipelines import painting, prompt_first
from janus4o.synth.sample import Sample, State
from janus4o.synth.schedule import Page
from janus4o.synth.setting import Setting
from janus4o.synth.writing import Answer


async def make(sample: Sample, calls: Calls, setting: Setting) -> Row:
    """A text-to-image row.

    Raises:
        Rejected, TeacherRefused, CallFailed
    """
    page = asked_page(sample, setting)
    theme, font = page.theme, page.font
    if setting.document.category == "planned":
        content, asked_content = await _content(calls, setting, page.type, theme)
        template, asked_template = await _template(calls, setting, theme, font, (page.type,))
    else:
        kinds = tuple(kind for kind, share in sorted(setting.document.types.items()) if share > 0)
        template, asked_template = await _template(calls, setting, theme, font, kinds)
        content, asked_content = await _content(calls, setting, template.value.type, theme)
    calls.reach(State.WRITTEN)
    kind = template.value.type
    prompt = documents.merge(template.value, content.value, font)
    passed = ("decodes", "size", "not_flat", "shows_prompt")
    kept = await painting.paint(calls, setting, prompt, prompt_first.looker(setting), passed)
    return Row(
        input_prompt=kept.prompt,
        output_image=kept.painted.name,
        output_image_resolution=kept.resolution,
        provenance=Provenance(
            id=sample.id,
            pipeline=sample.pipeline.value,
            task=kind,
            attributes={
                "theme": theme,
                "font": font,
                "content": content.value.to_json(),
                "template": template.value.to_json(),
                "template_request": asked_template,
            },
            write_prompt=asked_content,
            writer=template.model,
            painter=kept.painted.model,
            seed=sample.seed,
            templates={
                **setting.prompts.stamps(f"document_{kind}", "document_template"),
                **kept.stamps,
            },
            **kept.told,
        ),
    )


def asked_page(sample: Sample, setting: Setting) -> Page:
    """What the document of a sample is to be; its type counts where it is not the writer's choice."""
    if setting.schedule is not None:
        return setting.schedule.page(sample)
    rng, words = sample.rng("document"), setting.documents
    theme = words.themes[rng.integers(len(words.themes))]
    font = words.fonts[rng.integers(len(words.fonts))]
    kinds = {kind: share for kind, share in sorted(setting.document.types.items()) if share > 0}
    return Page(draw_share(rng, kinds), theme, font)


async def _content(
    calls: Calls, setting: Setting, kind: str, theme: str
) -> tuple[Answer[Content], str]:
    asked = setting.prompts.fill(f"document_{kind}", theme=theme)
    form = documents.content_form(kind)
    return await writing.fill_in(calls, setting, "content", asked, form), asked


async def _template(
    calls: Calls, setting: Setting, theme: str, font: str, kinds: tuple[str, ...]
) -> tuple[Answer[Template], str]:
    categories = ", ".join(CATEGORIES[kind] for kind in kinds)
    asked = setting.prompts.fill("document_template", theme=theme, font=font, categories=categories)
    form = documents.template_form(theme, kinds)
    return await writing.fill_in(calls, setting, "template", asked, form), asked
