"""The patterns and limits of the API, read from the options of ``limits.proto``.

This module lies below all others; it is the one place outside ``api`` that knows a message.
"""

from __future__ import annotations

from typing import Final

from steelyard.v1 import limits_pb2


class Limits:
    """Hold every limit under the name of its field; numbers are inclusive bounds."""

    name_pattern: str
    alias_pattern: str
    model_name_pattern: str
    digest_pattern: str
    key_pattern: str
    semantic_version_pattern: str
    upload_id_pattern: str
    principal_pattern: str
    description_bytes: int
    reason_bytes: int
    labels_count: int
    label_value_bytes: int
    labels_bytes: int
    owners_count: int
    directions_count: int
    text_bytes: int
    aliases_count: int
    name_characters: int
    model_name_characters: int
    key_characters: int
    former_names_count: int
    semantic_version_characters: int
    actor_characters: int
    files_count: int
    file_path_bytes: int
    file_path_part_bytes: int
    file_bytes: int
    parameters_count: int
    parameter_bytes: int
    metrics_count: int
    datasets_count: int
    parents_count: int
    schema_fields_count: int
    schema_dimensions_count: int
    content_bytes: int
    manifest_bytes: int
    version_files_count: int
    evaluated_metrics_count: int
    page_size_default: int
    page_size_maximum: int
    page_bytes: int
    batch_versions_count: int
    find_blobs_count: int
    read_files_count: int
    purged_files_count: int
    purged_metrics_count: int
    purged_terms_count: int
    compared_versions_count: int
    compared_files_count: int
    compared_generations_count: int
    compared_ancestors_count: int
    filter_bytes: int
    filter_depth: int
    filter_terms_count: int
    order_fields_count: int
    batch_create_count: int
    batch_create_texts_bytes: int
    message_bytes: int
    chunk_bytes: int
    request_read_seconds: int
    mutation_milliseconds: int
    unary_seconds: int
    upload_idle_seconds: int
    request_id_seconds: int
    partial_upload_seconds: int
    lease_seconds: int
    clock_seconds: int
    stream_seconds: int
    garbage_seconds: int
    heartbeat_seconds: int
    retention_seconds: int
    token_seconds: int
    token_seconds_default: int
    tokens_count: int
    group_members_count: int
    grants_count: int
    login_groups_count: int
    login_seconds: int
    policies_count: int
    policy_checks_count: int
    policy_models_count: int
    stages_count: int
    approvals_count: int
    approval_subjects_count: int
    reviews_count: int
    promotion_seconds: int
    promotion_open_seconds: int
    promotion_evaluations_count: int
    policy_expression_bytes: int
    policy_steps_count: int

    def __init__(self) -> None:
        for field in limits_pb2.Limits.DESCRIPTOR.fields:
            extensions = field.GetOptions().Extensions
            text = field.type == field.TYPE_STRING
            value = extensions[limits_pb2.pattern] if text else extensions[limits_pb2.bound]
            setattr(self, field.name, value)


LIMITS: Final = Limits()
