"""`asr data`: import, check, split, look at and pack training data; one small module per sub-command."""

from __future__ import annotations

import typer

from asr.cli.data import doctor, exporting, filter, importing, listen, merge, shard, split, stats

app = typer.Typer(no_args_is_help=True, help="Import, check, split, look at and pack training data.")
app.command("doctor")(doctor.command)
app.command("export")(exporting.command)
app.command("filter")(filter.command)
app.command("import")(importing.command)
app.command("listen")(listen.command)
app.command("merge")(merge.command)
app.command("shard")(shard.command)
app.command("split")(split.command)
app.command("stats")(stats.command)
