"""The part of a PVC 0.5 client that touches ZooKeeper, as its layout describes it.

Takes one JSON request per line and answers with one JSON line.
"""
import json
import sys

from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError, NotEmptyError


def write(zk, keys):
    """One transaction: parents first, a create or a set that is checked afterwards."""
    transaction = zk.transaction()
    for path in sorted(keys):
        data = keys[path].encode("utf-8")
        if zk.exists(path):
            version = zk.get(path)[1].version
            transaction.set_data(path, data)
            transaction.check(path, version + 1)
        else:
            transaction.create(path, data)
    return [type(r).__name__ for r in transaction.commit() if isinstance(r, Exception)]


def tree(zk, path, found):
    """All data at and below a path."""
    try:
        found[path] = zk.get(path)[0].decode("utf-8")
        for name in zk.get_children(path):
            tree(zk, (path if path != "/" else "") + "/" + name, found)
    except NoNodeError:
        pass  # gone while it was listed
    return found


def remove(zk, path):
    """Recursively, one request per znode."""
    try:
        zk.delete(path, recursive=True)
    except NotEmptyError:
        raise NotEmptyError("made meanwhile: %s" % zk.get_children(path))


def main():
    zk = KazooClient(hosts=sys.argv[1])
    zk.start()
    actions = {
        "write": lambda r: write(zk, r["keys"]),
        "tree": lambda r: tree(zk, r["path"], {}),
        "remove": lambda r: remove(zk, r["path"]),
    }
    print(json.dumps({"value": None}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"value": actions[request["do"]](request)}
        except Exception as e:  # the other side ends the test with it
            answer = {"error": "%s: %s" % (type(e).__name__, e)}
        print(json.dumps(answer), flush=True)
    zk.stop()


main()
