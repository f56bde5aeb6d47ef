"""The report of a scan: figures and one self-contained HTML page (:mod:`viamachinae.report.page`)."""

__all__: list[str] = []
