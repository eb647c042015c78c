"""Runs on an interpreter that has `ovs` (and, for `ovsdbapp`, that): `peer.py MODE PARSER`, a request on stdin.

sync      list the databases of the request
transact  list one database, then commit a change of one row, again and again
ovsdbapp  the same by its commands
import    load the library, nothing else
"""

# ruff: noqa: PLC0415  # what is imported, and when, is what is measured

import json
import os
import sys
import time
from pathlib import Path

BEGIN = time.perf_counter()


def rss():
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS"):
            return float(line.split()[1]) * 1024
    return 0.0


def library(parser):
    import ovs.json

    if parser == "python":
        ovs.json.PARSER = ovs.json.PARSER_PY
    elif parser == "c" and ovs.json.PARSER != ovs.json.PARSER_C:
        raise SystemExit("this build of ovs has no C parser")
    import ovs.db.idl
    import ovs.poller

    return ovs


def idl_of(ovs, wanted):
    """Fetches the schema first, as ovsdbapp and neutron do."""
    from ovs import jsonrpc, stream
    from ovs.db import idl

    error, opened = stream.Stream.open_block(stream.Stream.open(wanted["remote"]))
    if error:
        raise SystemExit(f"cannot connect: {error}")
    connection = jsonrpc.Connection(opened)
    error, reply = connection.transact_block(jsonrpc.Message.create_request("get_schema", [wanted["database"]]))
    connection.close()
    helper = idl.SchemaHelper(schema_json=reply.result)
    for table, columns in wanted["tables"].items():
        helper.register_columns(table, columns)
    return idl.Idl(wanted["remote"], helper)


def settle(ovs, idls):
    while not all(i.has_ever_connected() for i in idls):
        for each in idls:
            each.run()
        if all(i.has_ever_connected() for i in idls):
            return
        poller = ovs.poller.Poller()
        for each in idls:
            each.wait(poller)
        poller.block()


def sync(parser, request):
    ovs = library(parser)
    begin = time.perf_counter()
    idls = [idl_of(ovs, wanted) for wanted in request["databases"]]
    settle(ovs, idls)
    seconds = time.perf_counter() - begin
    rows = sum(len(table.rows) for i in idls for table in i.tables.values())
    return {"seconds": seconds, "rss": rss(), "rows": rows}


def transact(parser, request):
    ovs = library(parser)
    from ovs.db import idl

    database = idl_of(ovs, request["databases"][0])
    settle(ovs, [database])
    times = []
    for number in range(request["times"]):
        row = next(iter(database.tables["NB_Global"].rows.values()))
        begin = time.perf_counter()
        transaction = idl.Transaction(database)
        row.setkey("options", "bench", str(number))
        if transaction.commit_block() not in (idl.Transaction.SUCCESS, idl.Transaction.UNCHANGED):
            raise SystemExit("the transaction failed")
        times.append(time.perf_counter() - begin)
    return {"seconds": sorted(times)[len(times) // 2], "rss": rss()}


def ovsdbapp(parser, request):
    library(parser)
    begin = time.perf_counter()
    from ovsdbapp.backend.ovs_idl import connection
    from ovsdbapp.schema.ovn_northbound import impl_idl

    loaded = time.perf_counter()
    wanted = request["databases"][0]
    database = connection.OvsdbIdl.from_server(wanted["remote"], wanted["database"])
    api = impl_idl.OvnNbApiIdlImpl(connection.Connection(database, timeout=180))
    listed = time.perf_counter()
    times = []
    for number in range(request["times"]):
        start = time.perf_counter()
        api.db_set("NB_Global", ".", ("options", {"bench": str(number)})).execute(check_error=True)
        times.append(time.perf_counter() - start)
    return {
        "import": loaded - begin,
        "seconds": listed - loaded,
        "transact": sorted(times)[len(times) // 2],
        "rss": rss(),
    }


def main():
    mode, parser = sys.argv[1:3]
    request = json.load(sys.stdin)
    if mode == "import":
        library(parser)
        found = {"seconds": time.perf_counter() - BEGIN, "rss": rss()}
    else:
        found = {"sync": sync, "transact": transact, "ovsdbapp": ovsdbapp}[mode](parser, request)
    print(json.dumps(found))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
