"""A page of HTML read back: what tests of reports and comparisons look at."""

from html.parser import HTMLParser

VOID = {"meta", "img", "input", "br", "link"}


class Page(HTMLParser):
    """What a page holds: its tags, the text of each section, the values given for programs; balanced or not."""

    def __init__(self, markup):
        super().__init__()
        self.open, self.tags, self.values, self.words, self.section = [], [], [], {}, ""
        self.feed(markup)
        self.close()
        assert not self.open

    def handle_starttag(self, name, attrs):
        self.tags.append((name, dict(attrs)))
        if name == "section":
            self.section = dict(attrs)["id"]
        if name == "data":
            self.values.append(float(dict(attrs)["value"]))
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name, f"</{name}> closes nothing"
        self.section = "" if name == "section" else self.section

    def handle_data(self, text):
        self.words[self.section] = self.words.get(self.section, "") + text

    def all(self, name, look=None):
        return [a for n, a in self.tags if n == name and (look is None or look in (a.get("class") or "").split())]
