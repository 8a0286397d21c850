"""Uses the console in headless Chromium as a person does, in both languages; for scripts/console.sh.

    console.py URL CERTIFICATE [PICTURES]

The access key comes in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. With PICTURES, a folder, it has a picture of each page
taken: wide and narrow, light and dark.
"""

import base64
import hashlib
import json
import os
import socket
import ssl
import sys
import tempfile
import urllib.parse

import boto3
import botocore.exceptions
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

URL, CERTIFICATE = sys.argv[1:3]
PICTURES = sys.argv[3] if len(sys.argv) > 3 else None
ID, SECRET = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
# Generous: the machine may be busy with other things.
PATIENCE = 60

# What the pages say, as far as this looks for it; the names of texts are those of texts-en.js and texts-zh.js.
WORDS = {
    "en": {
        "browser": "en-GB",
        "lang": "en",
        "Enabled": "Enabled",
        "Disabled": "Disabled",
        "refused": "Refused",
        "wrong": "The access key id or its secret is wrong.",
        "not confirmed": "What you typed is neither the key id nor one of its aliases.",
        "empty": "There is no key yet.",
        "alias exists": "There is such an alias already.",
        "signed out": "You are signed out.",
        "deleting": "To be destroyed",
        "denied": "You are not allowed to do this.",
    },
    "zh": {
        "browser": "zh-CN",
        "lang": "zh-CN",
        "Enabled": "已启用",
        "Disabled": "已禁用",
        "refused": "已拒绝",
        "wrong": "访问密钥 ID 或密码错误。",
        "not confirmed": "输入的内容既不是密钥 ID，也不是它的别名。",
        "empty": "还没有密钥。",
        "alias exists": "该别名已存在。",
        "signed out": "您已退出。",
        "deleting": "待删除",
        "denied": "没有权限执行此操作。",
    },
}


def public_key_hash():
    """How Chromium is told to believe the service's certificate and no other: the one that CERTIFICATE vouches for."""
    host = urllib.parse.urlsplit(URL)
    context = ssl.create_default_context(cafile=CERTIFICATE)
    with context.wrap_socket(socket.create_connection((host.hostname, host.port)), server_hostname=host.hostname) as raw:
        certificate = x509.load_der_x509_certificate(raw.getpeercert(binary_form=True))
    der = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(der).digest()).decode()


class Browser:
    def __init__(self, language, folder):
        self.words = WORDS[language]
        self.language = language
        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        for argument in (
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
            f"--user-data-dir={folder}", f"--ignore-certificate-errors-spki-list={public_key_hash()}",
            f"--accept-lang={self.words['browser']}", f"--lang={self.words['browser']}", "--window-size=1280,900",
        ):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        service = webdriver.ChromeService("/usr/bin/chromedriver")
        self.driver = webdriver.Chrome(options=options, service=service)
        # With a time zone of its own, pictures are the same everywhere.
        self.driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "UTC"})

    def until(self, what, holds):
        """Waits until something holds, however busy the machine is."""
        def quietly(_driver):
            try:
                return holds()
            except Exception as error:
                if "stale element" in str(error) or "no such element" in str(error):
                    return None
                raise
        try:
            return WebDriverWait(self.driver, PATIENCE, 0.1).until(quietly)
        except Exception as error:
            self.picture("failed")
            text = self.driver.find_element(By.TAG_NAME, "body").text
            raise AssertionError(f"{self.language}: waited for {what}; the page says:\n{text}\n{self.log()}") from error

    def find(self, selector):
        return self.until(selector, lambda: self.driver.find_element(By.CSS_SELECTOR, selector))

    def click(self, selector):
        def clicked():
            element = self.driver.find_element(By.CSS_SELECTOR, selector)
            self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
            if not element.is_displayed() or not element.is_enabled():
                return False
            element.click()
            return True
        self.until(f"a click on {selector}", clicked)

    def type(self, selector, text):
        element = self.find(selector)
        element.clear()
        element.send_keys(text)

    def says(self, text, selector="body"):
        return self.until(f"{text!r} in {selector}", lambda: text in self.driver.find_element(By.CSS_SELECTOR, selector).text)

    def go(self, place):
        self.driver.execute_script("location.hash = arguments[0]", place)

    def log(self):
        """What the browser complains of; that a request was refused is what this script wants."""
        lines = [line["message"] for line in self.driver.get_log("browser") if line["level"] in ("SEVERE", "WARNING")]
        return [line for line in lines if "the server responded with a status of 4" not in line]

    def check_quiet(self):
        log = self.log()
        assert log == [], f"the browser complains: {log}"

    def check_width(self, name):
        """On a phone nothing is wider than the screen."""
        wide = self.driver.execute_script(
            "return [document.documentElement.scrollWidth, innerWidth, [...document.querySelectorAll('main *, header *')]"
            ".filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && getComputedStyle(e).overflowX !== 'auto' && !e.closest('thead'))"
            ".map((e) => e.outerHTML.slice(0, 120))]")
        assert wide[0] <= wide[1], f"{name}: {wide[0]} wide on a screen of {wide[1]}: {wide[2][:5]}"

    def screen(self, width, dark=False):
        cdp = self.driver.execute_cdp_cmd
        cdp("Emulation.setDeviceMetricsOverride", {"width": width, "height": 844 if width < 500 else 900, "deviceScaleFactor": 1, "mobile": width < 500})
        scheme = "dark" if dark else "light"
        cdp("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})

    def look(self, name):
        """The page as it is, on a phone and on a desktop; pictures of it, if wanted."""
        self.screen(390)
        self.check_width(name)
        self.picture(f"{name}-phone")
        if PICTURES:
            self.screen(1280, dark=True)
            self.picture(f"{name}-dark")
        self.screen(1280)
        self.picture(name)

    def picture(self, name):
        if PICTURES:
            shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
            with open(os.path.join(PICTURES, f"{self.language}-{name}.png"), "wb") as file:
                file.write(base64.b64decode(shot["data"]))

    def badge(self, text):
        self.until(f"the state {text}", lambda: self.driver.find_element(By.CSS_SELECTOR, ".title .badge").text == text)


def client():
    return boto3.client("kms", region_name=os.environ.get("AWS_REGION", "local"), endpoint_url=URL, verify=CERTIFICATE)


def is_refused(code, call):
    try:
        call()
    except botocore.exceptions.ClientError as error:
        assert error.response["Error"]["Code"] == code, error
        return
    raise AssertionError(f"not refused as {code}")


def sign_in(browser):
    words = browser.words
    browser.driver.get(URL + "/console")
    browser.find("#sign-in")
    lang = browser.driver.find_element(By.TAG_NAME, "html").get_attribute("lang")
    assert lang == words["lang"], f"a browser in {words['browser']} is shown {lang}"
    browser.look("sign-in")
    browser.type("input[name=id]", ID)
    browser.type("input[name=secret]", "wrong")
    browser.click("#sign-in button")
    browser.says(words["wrong"], "[role=alert]")
    browser.look("sign-in-refused")
    # By keyboard alone.
    browser.type("input[name=secret]", SECRET)
    browser.find("input[name=secret]").send_keys(Keys.ENTER)
    browser.find("nav")


def check_secret_is_nowhere(browser):
    kept = browser.driver.execute_script(
        "return JSON.stringify([localStorage, sessionStorage, document.cookie, document.documentElement.outerHTML,"
        " [...document.querySelectorAll('input')].map((e) => e.value)])")
    assert SECRET not in kept, "the page keeps the secret"
    assert "envelopekms" not in browser.driver.execute_script("return document.cookie"), "scripts see the session's cookie"
    cookie = browser.driver.get_cookie("__Host-envelopekms")
    assert cookie["httpOnly"] and cookie["secure"] and cookie["sameSite"] == "Strict", cookie


def create_key(browser, alias):
    browser.click("main a[href='#/keys/new']")
    browser.find("#create-key")
    browser.look("create")
    browser.type("input[name=alias]", alias)
    browser.type("textarea[name=description]", "sales.csv 销售数据")
    browser.click("#create-key button[type=submit]")
    browser.badge(browser.words["Enabled"])
    browser.says(alias, "h1")
    return browser.driver.current_url.split("/keys/")[1]


def disable_key_and_be_refused(browser, alias):
    kms, words = client(), browser.words
    data_key = kms.generate_data_key(KeyId=alias, KeySpec="AES_256")
    assert kms.decrypt(CiphertextBlob=data_key["CiphertextBlob"])["Plaintext"] == data_key["Plaintext"]
    # Escape closes the question, and nothing was done.
    browser.click("#disable")
    browser.find("dialog[open]").send_keys(Keys.ESCAPE)
    browser.until("no dialog", lambda: not browser.driver.find_elements(By.TAG_NAME, "dialog"))
    focused = browser.driver.execute_script("return document.activeElement.id")
    assert focused == "disable", f"after the dialog, the focus is on {focused!r}"
    browser.click("#disable")
    browser.find("dialog[open]")
    browser.look("disable")
    browser.click("dialog button[type=submit]")
    browser.badge(words["Disabled"])
    is_refused("DisabledException", lambda: kms.generate_data_key(KeyId=alias, KeySpec="AES_256"))
    is_refused("DisabledException", lambda: kms.decrypt(CiphertextBlob=data_key["CiphertextBlob"]))
    browser.go("#/calls")
    for action in ("GenerateDataKey", "Decrypt"):
        row = lambda: [r for r in browser.driver.find_elements(By.CSS_SELECTOR, "tbody tr") if action in r.text and words["refused"] in r.text]
        browser.until(f"{action}, refused, in the log", row)
        assert "admin" in row()[0].text, row()[0].text
    bars = browser.driver.find_elements(By.CSS_SELECTOR, "svg rect.refused")
    assert bars, "the chart does not show the refused calls"
    browser.look("calls")
    return data_key


def enable_key(browser, key, data_key):
    browser.go(f"#/keys/{key}")
    browser.click("#enable")
    browser.badge(browser.words["Enabled"])
    assert client().decrypt(CiphertextBlob=data_key["CiphertextBlob"])["Plaintext"] == data_key["Plaintext"]
    browser.click("#rotate")
    browser.click("dialog button[type=submit]")
    browser.until("a second version", lambda: len(browser.driver.find_elements(By.CSS_SELECTOR, "section:nth-of-type(1) tbody tr")) == 2)
    assert client().decrypt(CiphertextBlob=data_key["CiphertextBlob"])["Plaintext"] == data_key["Plaintext"]
    browser.look("key")


def destroy_key(browser, alias):
    words = browser.words
    browser.click("#delete")
    browser.type("dialog input[name=confirm]", "alias/other")
    browser.click("dialog button[type=submit]")
    browser.says(words["not confirmed"], "dialog")
    browser.look("delete-refused")
    browser.badge(words["Enabled"])
    browser.type("dialog input[name=confirm]", alias)
    browser.click("dialog button[type=submit]")
    browser.badge(words["deleting"])
    is_refused("KMSInvalidStateException", lambda: client().generate_data_key(KeyId=alias, KeySpec="AES_256"))
    browser.look("key-deleting")
    browser.click("#cancel-deletion")
    browser.badge(words["Enabled"])


def be_refused_an_alias(browser, alias):
    browser.type("input[name=new-alias]", alias)
    browser.find("input[name=new-alias]").send_keys(Keys.ENTER)
    browser.says(browser.words["alias exists"], "[role=alert]")


def people(browser, name):
    """Somebody who may only look: made in the console, refused what goes further."""
    browser.go("#/people")
    browser.click("#add-person")
    browser.type("dialog input[name=person]", name)
    browser.click("dialog select option[value=reader]")
    browser.look("person")
    browser.click("dialog button[type=submit]")
    browser.says(name, "main > div:last-child")
    browser.look("people")
    made = json.loads(browser.driver.execute_async_script("""
        const [name, done] = arguments;
        import('/console/api.js').then((api) => api.ask('CreateAccessKey', {name})).then((made) => done(JSON.stringify(made)), (e) => done(String(e)));
    """, name))
    return made["id"], made["secret"]


def look_on_as(browser, access_key, key):
    browser.click("#sign-out")
    browser.type("input[name=id]", access_key[0])
    browser.type("input[name=secret]", access_key[1])
    browser.click("#sign-in button")
    browser.find("nav")
    browser.go(f"#/keys/{key}")
    browser.click("#disable")
    browser.click("dialog button[type=submit]")
    browser.says(browser.words["denied"], "dialog [role=alert]")
    browser.look("denied")
    browser.find("dialog").send_keys(Keys.ESCAPE)
    browser.badge(browser.words["Enabled"])


def sign_out(browser):
    browser.click("#sign-out")
    browser.says(browser.words["signed out"], "#said")
    browser.driver.refresh()
    browser.find("#sign-in")


def switch_language(browser):
    other = "zh" if browser.language == "en" else "en"
    browser.click(f"#language option[value={other}]")
    browser.until("the other language", lambda: browser.find("html").get_attribute("lang") == WORDS[other]["lang"])
    browser.driver.refresh()
    browser.until("the language after a reload", lambda: browser.find("html").get_attribute("lang") == WORDS[other]["lang"])
    browser.click(f"#language option[value={browser.language}]")
    browser.until("the language before", lambda: browser.find("html").get_attribute("lang") == browser.words["lang"])


def check_own_host_only(browser):
    names = browser.driver.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert names and all(name.startswith(URL + "/console") for name in names), names


def run(language, is_first):
    with tempfile.TemporaryDirectory() as folder:
        browser = Browser(language, folder)
        try:
            alias = f"alias/console/{language}"
            sign_in(browser)
            if is_first:
                browser.says(browser.words["empty"])
                browser.look("keys-empty")
            check_secret_is_nowhere(browser)
            key = create_key(browser, alias)
            data_key = disable_key_and_be_refused(browser, alias)
            enable_key(browser, key, data_key)
            be_refused_an_alias(browser, alias)
            destroy_key(browser, alias)
            browser.go("#/keys")
            browser.says(alias)
            browser.look("keys")
            switch_language(browser)
            reader = people(browser, f"reader.{language}")
            check_own_host_only(browser)
            look_on_as(browser, reader, key)
            sign_out(browser)
            browser.check_quiet()
            print(f"the console does as it should ({language})")
        finally:
            browser.driver.quit()


for nth, language in enumerate(WORDS):
    run(language, nth == 0)
