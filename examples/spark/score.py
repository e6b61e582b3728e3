"""Score a file on a Spark cluster by a registered model: risk_score and risk_level beside the rows.

Run it as ``spark-submit score.py MODEL INPUT OUTPUT``: MODEL as MLflow names it, such as
``models:/NAME@champion``, or a folder; INPUT a CSV file with a header, or a folder of Parquet;
OUTPUT a folder for Parquet.
"""

from __future__ import annotations

import sys

import mlflow.pyfunc
from mlflow.models import get_model_info
from mlflow.types import DataType
from pyspark.sql import Column, SparkSession
from pyspark.sql.functions import col, struct


def main(model: str, source: str, target: str) -> None:
    """Read, score, write."""
    spark = SparkSession.builder.appName("fedrisk score").getOrCreate()
    reader = spark.read.option("header", True).option("inferSchema", True)
    rows = reader.csv(source) if source.endswith(".csv") else spark.read.parquet(source)
    answer = "risk_score double, risk_level string"
    score = mlflow.pyfunc.spark_udf(spark, model, result_type=answer, env_manager="local")
    scored = rows.withColumn("_answer", score(struct(*features(model, rows.columns))))
    scored.select(*rows.columns, "_answer.risk_score", "_answer.risk_level").write.parquet(target)
    spark.stop()


def features(model: str, columns: list[str]) -> list[Column]:
    """The model's columns; numbers as doubles, for MLflow takes no 64-bit integer for one."""
    taken = []
    for spec in get_model_info(model).signature.inputs:
        if spec.name in columns:
            column = col(f"`{spec.name}`")
            number = spec.type == DataType.double
            taken.append((column.cast("double") if number else column).alias(spec.name))
    return taken


if __name__ == "__main__":
    main(*sys.argv[1:])
