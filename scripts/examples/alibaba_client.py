"""A client of Alibaba Cloud KMS, as its SDK's users make it; the environment says where it is."""

import os

from alibabacloud_kms20160120.client import Client
from alibabacloud_tea_openapi.models import Config


def connect():
    return Client(
        Config(
            access_key_id=os.environ["ALIBABA_CLOUD_ACCESS_KEY_ID"],
            access_key_secret=os.environ["ALIBABA_CLOUD_ACCESS_KEY_SECRET"],
            endpoint=os.environ["ENVELOPEKMS_ENDPOINT"],
            protocol="HTTPS",
            ca=os.environ["ENVELOPEKMS_CA"],
        )
    )
