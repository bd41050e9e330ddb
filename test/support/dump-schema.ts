/**
 * The schema as text, from the server's catalogs, to be read in a review and compared in a test: types, tables with their constraints and
 * indexes, and views in full; functions by signature and rights, as their text stands in src/sql. The embedded server comes without
 * pg_dump. Written for the default major version: other versions spell some definitions otherwise.
 */
import pg from 'pg'

const PARTS: readonly string[] = [
  `select format('create type %s as enum (%s);', t.typname, string_agg(quote_literal(e.enumlabel), ', ' order by e.enumsortorder)) as line
   from pg_type t join pg_enum e on e.enumtypid = t.oid
   where t.typnamespace = $1::regnamespace group by t.typname order by t.typname`,
  `select format('create sequence %s minvalue %s maxvalue %s %scache %s;', c.relname, s.seqmin, s.seqmax,
            case when s.seqcycle then 'cycle ' else '' end, s.seqcache) as line
   from pg_sequence s join pg_class c on c.oid = s.seqrelid
   where c.relnamespace = $1::regnamespace
     and not exists (select from pg_depend d where d.objid = c.oid and d.deptype = 'i')
   order by c.relname`,
  `select format(E'create table %s (\\n%s\\n)%s;', c.relname,
            string_agg(format('  %s %s%s%s%s', a.attname, format_type(a.atttypid, a.atttypmod),
              case when a.attnotnull then ' not null' else '' end,
              case when d.adbin is not null and a.attidentity = '' then ' default ' || pg_get_expr(d.adbin, d.adrelid) else '' end,
              case when a.attidentity <> '' then ' generated always as identity' else '' end), E',\\n' order by a.attnum),
            coalesce(' with (' || array_to_string(c.reloptions, ', ') || ')', '')) as line
   from pg_class c
   join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
   left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
   where c.relnamespace = $1::regnamespace and c.relkind in ('r', 'p')
   group by c.oid, c.relname, c.reloptions order by c.relname`,
  `select format('alter table %s add constraint %s %s;', conrelid::regclass, conname, pg_get_constraintdef(oid)) as line
   from pg_constraint
   where connamespace = $1::regnamespace and conrelid <> 0 and contype <> 'n'
   order by conrelid::regclass::text, conname`,
  `select pg_get_indexdef(i.indexrelid, 0, true) || ';' || coalesce(' -- ' || obj_description(i.indexrelid), '') as line
   from pg_index i join pg_class c on c.oid = i.indexrelid
   where c.relnamespace = $1::regnamespace
     and not exists (select from pg_constraint k where k.conindid = i.indexrelid)
   order by c.relname`,
  `select format(E'create view %s as\\n%s', relname, pg_get_viewdef(oid, true)) as line
   from pg_class where relnamespace = $1::regnamespace and relkind = 'v' order by relname`,
  `select format('function %s(%s) returns %s %s%s;', p.proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid),
            case p.provolatile when 'i' then 'immutable' when 's' then 'stable' else 'volatile' end,
            case when p.prosecdef then ' security definer' else '' end)
          || coalesce((
            select ' -- ' || string_agg(replace(g.grantee::regrole::text, 'leasehold_', ''), ', ' order by g.grantee::regrole::text)
            from aclexplode(p.proacl) g where g.grantee <> p.proowner and g.grantee <> 0), '') as line
   from pg_proc p where p.pronamespace = $1::regnamespace order by p.proname, pg_get_function_arguments(p.oid)`,
]

export async function dumpSchema(databaseUrl: string, schemaName: string): Promise<string> {
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  try {
    await client.query(`select set_config('search_path', quote_ident($1), false)`, [schemaName])
    const parts: string[] = []
    for (const text of PARTS) {
      const { rows } = await client.query<{ line: string }>(text, [schemaName])
      parts.push(rows.map((row) => row.line).join('\n'))
    }
    return `-- What the migrations and functions make of an empty database. Written by: npm run schema\n\n${parts
      .filter((part) => part !== '')
      .join('\n\n')}\n`.replaceAll(`${schemaName}.`, '')
  } finally {
    await client.end()
  }
}
