"""Several questions to the database in one statement: a page of many parts goes there and back once."""

import json
from decimal import Decimal
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models import DateField, DecimalField, Field, QuerySet

Rows = list[dict[str, Any]]
# The name of a row stands for its columns unless one of them is called so.
PART = "(SELECT coalesce(json_agg(row_of_question), '[]')::text FROM ({sql}) AS row_of_question)"


def ask_together(**questions: QuerySet[Any, Any]) -> dict[str, Rows]:
    """Return the rows of querysets of `values()`, by the names of the questions. One query.

    Rows keep their order. They come as JSON and are what the querysets would give: amounts to the last digit,
    days and moments as such.
    """
    parts, params, kinds = [], [], {}
    for name, question in questions.items():
        # A question that nothing can answer, such as one about no ids, is asked all the same.
        compiler = question.query.get_compiler(DEFAULT_DB_ALIAS, elide_empty=False)
        sql, given = compiler.as_sql()
        parts.append(PART.format(sql=sql))
        params += given
        kinds[name] = [expression.output_field for expression, _, _ in compiler.select]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(parts)}", params)
        answers = cursor.fetchone()
    return {
        name: [_row(row, kinds[name]) for row in json.loads(answer, parse_float=Decimal)]
        for name, answer in zip(questions, answers, strict=True)
    }


def _row(row: dict[str, Any], kinds: "list[Field[Any, Any]]") -> dict[str, Any]:
    return {
        name: kind.to_python(value) if isinstance(kind, DateField | DecimalField) else value
        for (name, value), kind in zip(row.items(), kinds, strict=True)
    }
