"""One face for each client: `call(operation, parameters)` gives the answer's fields, or raises Refused."""

import base64
import importlib
import json
import os
import pathlib
import pkgutil
import re
import subprocess
import sys
import tempfile


def make(call, **parameters):
    """A new key, by either cloud's names: its id."""
    return call("CreateKey", parameters)["KeyMetadata"]["KeyId"]


def state(call, key_id):
    return call("DescribeKey", {"KeyId": key_id})["KeyMetadata"]["KeyState"]


def described(call, tag):
    """A new key whose description was changed: its id."""
    key_id = make(call, Description="of " + tag)
    assert state(call, key_id) == "Enabled"
    call("UpdateKeyDescription", {"KeyId": key_id, "Description": "another"})
    assert call("DescribeKey", {"KeyId": key_id})["KeyMetadata"]["Description"] == "another"
    return key_id


def off_and_on(call, key_id):
    """Disables a key, and enables it again."""
    call("DisableKey", {"KeyId": key_id})
    assert state(call, key_id) == "Disabled"
    call("EnableKey", {"KeyId": key_id})
    assert state(call, key_id) == "Enabled"


class Refused(Exception):
    """What the service said: its code and the status of HTTP, 0 where a client does not tell."""

    def __init__(self, code, status, message=""):
        super().__init__(f"{code} ({status}): {message}")
        self.code = code
        self.status = int(status or 0)


def snake(name):
    """The method of an operation: GenerateDataKey -> generate_data_key, ReEncrypt -> re_encrypt."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def faketime(behind):
    """Before a command whose clock is to be behind."""
    return ["faketime", "-f", "-" + behind] if behind else []


class Place:
    """Where a client goes, with which access key, and whom it trusts."""

    def __init__(self, address, ca, key_id, secret, region="local"):
        self.address, self.ca, self.key_id, self.secret, self.region = address, ca, key_id, secret, region

    def changed(self, **changes):
        place = Place(self.address, self.ca, self.key_id, self.secret, self.region)
        for name, value in changes.items():
            setattr(place, name, value)
        return place


class InProcess:
    """A client that is a library of this very process."""

    is_process = False
    tells_status = True

    def close(self):
        pass


class AlibabaTea(InProcess):
    """alibabacloud-kms20160120: signs with ACS3."""

    name = "alibabacloud-kms20160120"

    def __init__(self, place):
        from alibabacloud_tea_openapi.models import Config

        self.client = self.client_class()(
            Config(
                access_key_id=place.key_id,
                access_key_secret=place.secret,
                endpoint=place.address,
                protocol="HTTPS",
                ca=place.ca,
            )
        )

    @classmethod
    def client_class(cls):
        from alibabacloud_kms20160120.client import Client

        return Client

    @classmethod
    def operations(cls):
        from alibabacloud_kms20160120 import models

        named = {name.removesuffix("Request") for name in dir(models) if re.fullmatch(r"[A-Z]\w+Request", name)}
        return {name for name in named | {"DescribeRegions"} if hasattr(cls.client_class(), snake(name))}

    def call(self, operation, parameters):
        from alibabacloud_kms20160120 import models
        from Tea.exceptions import TeaException

        request_class = getattr(models, operation + "Request", None)
        request = () if request_class is None else (request_class().from_map(parameters),)
        try:
            return getattr(self.client, snake(operation))(*request).body.to_map()
        except TeaException as error:
            if error.code is None:
                raise  # Not told by the service.
            status = (error.data or {}).get("statusCode") or getattr(error, "statusCode", 0)
            raise Refused(error.code, status, error.message) from error

class AlibabaCore(InProcess):
    """aliyun-python-sdk-kms: signs with V1."""

    name = "aliyun-python-sdk-kms"

    def __init__(self, place):
        from aliyunsdkcore.client import AcsClient

        self.host, port = place.address.rsplit(":", 1)
        self.client = AcsClient(
            place.key_id, place.secret, "cn-hangzhou", port=int(port), verify=place.ca, auto_retry=False
        )

    @classmethod
    def operations(cls):
        from aliyunsdkkms.request import v20160120

        names = [module.name for module in pkgutil.iter_modules(v20160120.__path__) if module.name.endswith("Request")]
        for name in names:
            importlib.import_module(f"{v20160120.__name__}.{name}")
        return {name.removesuffix("Request") for name in names}

    def call(self, operation, parameters):
        from aliyunsdkcore.acs_exception.exceptions import ServerException

        module = importlib.import_module(f"aliyunsdkkms.request.v20160120.{operation}Request")
        request = getattr(module, operation + "Request")()
        for name, value in parameters.items():
            value = json.dumps(value) if isinstance(value, dict) else value
            # Lists have names of their own in this client, and the region is the client's.
            name = name + "s" if isinstance(value, list) else name
            if name != "RegionId":
                getattr(request, f"set_{name}")(str(value).lower() if isinstance(value, bool) else value)
        request.set_endpoint(self.host)
        request.set_protocol_type("https")
        request.set_accept_format("json")
        try:
            return json.loads(self.client.do_action_with_exception(request))
        except ServerException as error:
            raise Refused(error.get_error_code(), error.get_http_status(), error.get_error_msg()) from error

class AlibabaNode:
    """@alicloud/kms20160120: signs with V1, in Node.js."""

    name = "@alicloud/kms20160120"
    is_process = True
    tells_status = False

    def __init__(self, place):
        environment = {
            **os.environ,
            "NODE_EXTRA_CA_CERTS": place.ca or "",
            "KMS_ADDRESS": place.address,
            "KMS_KEY_ID": place.key_id,
            "KMS_SECRET": place.secret,
        }
        program = pathlib.Path(__file__).with_name("alicloud.js")
        self.node = subprocess.Popen(
            [*faketime(os.environ.get("KMS_BEHIND")), "node", program], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    @classmethod
    def operations(cls):
        adapter = cls(Place("127.0.0.1:1", "", "x", "x"))
        try:
            return set(adapter.ask({"operations": True}))
        finally:
            adapter.close()

    def ask(self, question):
        self.node.stdin.write(json.dumps(question) + "\n")
        self.node.stdin.flush()
        line = self.node.stdout.readline()
        if not line:
            raise RuntimeError("node has ended")
        return json.loads(line)

    def call(self, operation, parameters):
        answer = self.ask({"operation": operation, "parameters": parameters})
        if "code" in answer:
            # This client puts a word of its own behind the service's code.
            raise Refused(answer["code"].removesuffix("Error"), answer["status"], answer["message"])
        return answer["body"]

    def close(self):
        self.node.stdin.close()
        self.node.wait(timeout=30)


class Boto3(InProcess):
    """boto3."""

    name = "boto3"

    def __init__(self, place):
        import boto3
        from botocore.config import Config

        self.kms = boto3.session.Session().client(
            "kms",
            endpoint_url="https://" + place.address,
            verify=place.ca or True,
            region_name=place.region,
            aws_access_key_id=place.key_id,
            aws_secret_access_key=place.secret,
            config=Config(retries={"max_attempts": 1, "mode": "standard"}),
        )

    @classmethod
    def operations(cls):
        return set(cls(Place("127.0.0.1:1", None, "x", "x")).kms.meta.service_model.operation_names)

    def call(self, operation, parameters):
        from botocore.exceptions import ClientError

        try:
            answer = getattr(self.kms, snake(operation))(**parameters)
        except ClientError as error:
            told = error.response
            raise Refused(
                told["Error"]["Code"], told["ResponseMetadata"]["HTTPStatusCode"], told["Error"].get("Message")
            ) from error
        answer.pop("ResponseMetadata")
        return answer

class AwsCli:
    """awscli: each call is a process, as in a shell."""

    name = "awscli"
    is_process = True
    tells_status = False
    aws = pathlib.Path(sys.executable).with_name("aws")

    def __init__(self, place):
        self.folder = tempfile.TemporaryDirectory()
        self.environment = {
            **os.environ,
            "AWS_ENDPOINT_URL_KMS": "https://" + place.address,
            "AWS_REGION": place.region,
            "AWS_DEFAULT_REGION": place.region,
            "AWS_ACCESS_KEY_ID": place.key_id,
            "AWS_SECRET_ACCESS_KEY": place.secret,
            "AWS_MAX_ATTEMPTS": "1",
            "AWS_PAGER": "",
        }
        if place.ca:
            self.environment["AWS_CA_BUNDLE"] = place.ca

    @classmethod
    def operations(cls):
        return Boto3.operations()

    def argument(self, value):
        if isinstance(value, bytes):
            file = tempfile.NamedTemporaryFile(dir=self.folder.name, delete=False)
            with file:
                file.write(value)
            return "fileb://" + file.name
        return value if isinstance(value, str) else json.dumps(value)

    def call(self, operation, parameters):
        command = [*faketime(os.environ.get("KMS_BEHIND")), self.aws, "kms", snake(operation).replace("_", "-"), "--output", "json", "--no-paginate"]
        for name, value in parameters.items():
            option = "--" + snake(name).replace("_", "-")
            if isinstance(value, bool):
                command.append(option if value else option.replace("--", "--no-", 1))
            else:
                command += [option, self.argument(value)]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode == 0:
            return with_bytes(json.loads(done.stdout or "{}"))
        told = re.search(r"An error occurred \((\w+)\) when calling [^:]*: (.*)", done.stderr)
        if not told:
            raise RuntimeError(f"{command}: {done.stderr}")
        raise Refused(told[1], 0, told[2])

    def close(self):
        self.folder.cleanup()


BLOBS = {
    "CiphertextBlob", "CiphertextForRecipient", "ImportToken", "Mac", "Plaintext", "PrivateKeyCiphertextBlob",
    "PrivateKeyPlaintext", "PublicKey", "Signature",
}


def with_bytes(answer):
    """The AWS CLI prints bytes in base64."""
    return {name: base64.b64decode(value) if name in BLOBS else value for name, value in answer.items()}


ALIBABA = (AlibabaTea, AlibabaCore, AlibabaNode)
AWS = (Boto3, AwsCli)
