"""The demo's bucket: made, filled and looked into from outside, with boto3."""

from __future__ import annotations

import json

import boto3
from botocore.exceptions import ClientError

from tenure.cli.seaweedfs import SeaweedFS
from tenure.v1 import job_pb2

NAME = "transcripts"
PREFIX = "demoapp1/job0/"
REGION = "us-east-1"


class Bucket:
    """The bucket of the printed job, in a store that runs."""

    def __init__(self, store: SeaweedFS) -> None:
        self._client = boto3.client(
            "s3",
            endpoint_url=store.endpoint_url,
            aws_access_key_id=store.access_key,
            aws_secret_access_key=store.secret_key,
            region_name=REGION,
        )
        self.environment = {
            "AWS_ENDPOINT_URL_S3": store.endpoint_url,
            "AWS_ACCESS_KEY_ID": store.access_key,
            "AWS_SECRET_ACCESS_KEY": store.secret_key,
            "AWS_DEFAULT_REGION": REGION,
        }

    def make(self) -> None:
        """Make the bucket and put the job's input into it."""
        self._client.create_bucket(Bucket=NAME)
        self._client.put_object(Bucket=NAME, Key=f"{PREFIX}input/task.txt", Body=b"sum them up\n")

    def numbers_done(self) -> int:
        """How many numbers the checkpoint in the store has summed; 0: there is none."""
        try:
            answer = self._client.get_object(Bucket=NAME, Key=f"{PREFIX}state/checkpoint.json")
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                return 0
            raise
        return int(json.loads(answer["Body"].read())["done"])

    def sum_of(self, job: job_pb2.Job) -> int:
        """The sum that the job left in its output."""
        rule = job.specification.sync.after[0]
        answer = self._client.get_object(Bucket=rule.bucket, Key=f"{rule.prefix}result.json")
        return int(json.loads(answer["Body"].read())["sum"])
