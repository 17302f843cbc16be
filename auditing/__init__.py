"""What is wrong with the data: copies, doubtful labels, shortcuts, drift."""

from .audit import NEW, audit_images
from .decisions import apply_decisions, write_decisions
from .doubtful_labels import doubtful_labels
from .material import Images, TaskRows
from .neighbours import nearest, whitened
from .options import AuditOptions
from .page import write_audit
from .result import Audit
from .text import audit_text

__all__ = [
    "NEW",
    "Audit",
    "AuditOptions",
    "Images",
    "TaskRows",
    "apply_decisions",
    "audit_images",
    "audit_text",
    "doubtful_labels",
    "nearest",
    "whitened",
    "write_audit",
    "write_decisions",
]
