"""The names of the SQLSTATEs an upsert can meet (PostgreSQL, appendix A), code and name always printed together."""

from typing import Final

NAMES: Final = {
    "08006": "connection_failure",
    "0A000": "feature_not_supported",
    "21000": "cardinality_violation",
    "22P02": "invalid_text_representation",
    "23502": "not_null_violation",
    "23503": "foreign_key_violation",
    "23505": "unique_violation",
    "23514": "check_violation",
    "23P01": "exclusion_violation",
    "25001": "active_sql_transaction",
    "25006": "read_only_sql_transaction",
    "25P01": "no_active_sql_transaction",
    "25P02": "in_failed_sql_transaction",
    "25P03": "idle_in_transaction_session_timeout",
    "27000": "triggered_data_change_violation",
    "40001": "serialization_failure",
    "40003": "statement_completion_unknown",
    "40P01": "deadlock_detected",
    "42501": "insufficient_privilege",
    "42601": "syntax_error",
    "42703": "undefined_column",
    "42704": "undefined_object",
    "42809": "wrong_object_type",
    "42883": "undefined_function",
    "42P01": "undefined_table",
    "42P02": "undefined_parameter",
    "42P10": "invalid_column_reference",
    "42P17": "invalid_object_definition",
    "42P18": "indeterminate_datatype",
    "55000": "object_not_in_prerequisite_state",
    "55P03": "lock_not_available",
    "57014": "query_canceled",
    "57P01": "admin_shutdown",
    "P0001": "raise_exception",
    "P0002": "no_data_found",
    "P0003": "too_many_rows",
}


def is_sqlstate(text: str) -> bool:
    """Whether the text has the form of a SQLSTATE: five digits or capital letters, not all letters."""
    return (
        len(text) == 5 and text.isascii() and text.isalnum() and text == text.upper() and any(c.isdigit() for c in text)
    )


def describe(sqlstate: str) -> str:
    """`23505 unique_violation`; the bare code where we know no name."""
    name = NAMES.get(sqlstate)
    return f"{sqlstate} {name}" if name else sqlstate
