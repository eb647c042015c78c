"""What users write, from decoded documents to `isthmus.model.intent`.

json_schema()            the JSON Schema of one document
parse(value, …)          one decoded document -> Draft
assemble(drafts)         all of them -> Listing
"""

from isthmus.api.assemble import DERIVED, Listing, Refused, assemble
from isthmus.api.draft import Draft
from isthmus.api.parse import API_VERSION, parse
from isthmus.api.schema import json_schema

__all__ = ["API_VERSION", "DERIVED", "Draft", "Listing", "Refused", "assemble", "json_schema", "parse"]
