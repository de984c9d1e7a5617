"""Amazon SageMaker AI: notebooks, models and endpoints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tasks.discovery.aws_access import AwsReader
from tasks.discovery.aws_source import AwsSource
from tasks.discovery.source import SourceContext
from tasks.records import AssetKind, Observation


class AwsSageMaker(AwsSource):
    name = "aws_sagemaker"
    service = "sagemaker"
    needs: tuple[str, ...] = (
        "sagemaker:ListNotebookInstances",
        "sagemaker:DescribeNotebookInstance",
        "sagemaker:ListModels",
        "sagemaker:DescribeModel",
        "sagemaker:ListEndpoints",
        "sagemaker:DescribeEndpoint",
        "sagemaker:DescribeEndpointConfig",
    )

    def observe(self, ctx: SourceContext, reader: AwsReader) -> Iterator[Observation]:
        yield from self._notebooks(ctx, reader)
        yield from self._models(ctx, reader)
        yield from self._endpoints(ctx, reader)

    def _notebooks(self, ctx: SourceContext, reader: AwsReader) -> Iterator[Observation]:
        for item in reader.items("sagemaker", "ListNotebookInstances", "NotebookInstances", "NextToken"):
            name = item["NotebookInstanceName"]
            book = reader.call("sagemaker", "DescribeNotebookInstance", NotebookInstanceName=name)
            if book is None:
                continue
            props = {
                "cloud_type": "sagemaker_notebook",
                "direct_internet": _enabled(book.get("DirectInternetAccess")),
                "root_access": _enabled(book.get("RootAccess")),
                "kms_key": book.get("KmsKeyId"),
                "principal": book.get("RoleArn"),
                "status": book.get("NotebookInstanceStatus"),
            }
            arn = book["NotebookInstanceArn"]
            yield self._seen(ctx, reader, AssetKind.CLOUD_AI_SERVICE, name, arn, "DescribeNotebookInstance", props)

    def _models(self, ctx: SourceContext, reader: AwsReader) -> Iterator[Observation]:
        for item in reader.items("sagemaker", "ListModels", "Models", "NextToken"):
            model = reader.call("sagemaker", "DescribeModel", ModelName=item["ModelName"])
            if model is None:
                continue
            props = {
                "cloud_type": "sagemaker_model",
                "network_isolation": bool(model.get("EnableNetworkIsolation")),
                "vpc": bool((model.get("VpcConfig") or {}).get("Subnets")),
                "image": (model.get("PrimaryContainer") or {}).get("Image"),
                "weights_uri": (model.get("PrimaryContainer") or {}).get("ModelDataUrl"),
                "principal": model.get("ExecutionRoleArn"),
            }
            yield self._seen(
                ctx, reader, AssetKind.SELF_HOSTED_MODEL, item["ModelName"], model["ModelArn"], "DescribeModel", props
            )

    def _endpoints(self, ctx: SourceContext, reader: AwsReader) -> Iterator[Observation]:
        for item in reader.items("sagemaker", "ListEndpoints", "Endpoints", "NextToken"):
            endpoint = reader.call("sagemaker", "DescribeEndpoint", EndpointName=item["EndpointName"])
            if endpoint is None:
                continue
            name = endpoint.get("EndpointConfigName")
            config = reader.call("sagemaker", "DescribeEndpointConfig", EndpointConfigName=name) if name else None
            props: dict[str, Any] = {"cloud_type": "sagemaker_endpoint", "status": endpoint.get("EndpointStatus")}
            if config is not None:
                capture = config.get("DataCaptureConfig") or {}
                props["kms_key"] = config.get("KmsKeyId")
                props["data_capture"] = bool(capture.get("EnableCapture"))
            arn = endpoint["EndpointArn"]
            yield self._seen(
                ctx, reader, AssetKind.CLOUD_AI_SERVICE, item["EndpointName"], arn, "DescribeEndpoint", props
            )


def _enabled(value: str | None) -> bool | None:
    """`Enabled`/`Disabled` as a boolean; None when AWS does not say."""
    return None if value is None else value == "Enabled"
