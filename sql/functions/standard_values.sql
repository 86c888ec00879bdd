-- Values of standard JSON columns: e-mails, phones, labels, addresses, in any shape.
-- What: functions that read such a value, and say whether it is empty.
-- Reads: nothing.
-- Needs: 0001_installation.sql, conversions.sql.
--
-- None of them fails for any value. The form that nearly all values have comes first.

create or replace function pipeline.filled(value text) returns text
language plpgsql immutable parallel safe
as $$
begin
    if value ~ '[^\u0001-\u0020\u007f-\u00a0\u00ad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5'
        '\u180b-\u180f\u2000-\u200f\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f'
        '\ufeff\uffa0]' then
        return value;
    end if;
    return null;
end
$$;
comment on function pipeline.filled(text) is
    'The text; null where it is empty or blank: spaces of any width, tabs, marks that show nothing.';

create or replace function pipeline.is_empty(value jsonb, levels integer default 3) returns boolean
language plpgsql immutable parallel safe
as $$
declare
    kind text := jsonb_typeof(value);
begin
    if kind is null or kind = 'null' then
        return true;
    elsif kind = 'string' then
        return pipeline.filled(value #>> '{}') is null;
    elsif kind = 'array' and levels > 0 then
        return not exists (
            select
            from jsonb_array_elements(value) as entry (item)
            where not pipeline.is_empty(entry.item, levels - 1)
        );
    elsif kind = 'object' and levels > 0 then
        return not exists (
            select
            from jsonb_each(value) as part (name, item)
            where not pipeline.is_empty(part.item, levels - 1)
        );
    end if;
    return value in ('[]', '{}');
end
$$;
comment on function pipeline.is_empty(jsonb, integer) is
    'True if a value says nothing: null, blank text, a list or an object of nothing else.';

-- The forms that nearly all values have. In SQL, so that a query inlines them; a path takes a tenth
-- of the time of a regular expression over the text.
create or replace function pipeline.are_plain_points(value jsonb) returns boolean
language sql immutable parallel safe
return jsonb_typeof(value) = 'array'
    and not value @? '$[*].type() ? (@ != "object")'
    and not value @? '$[*] ? (
        !(@.value.type() == "string" && @.value like_regex "^[!-~]")
        || @.primary.type() == "string"
        || @.primary.type() == "number"
    )';
comment on function pipeline.are_plain_points(jsonb) is
    'True for a list of objects whose value is a text that shows; pipeline.contact_points changes '
    'nothing of it.';

create or replace function pipeline.are_plain_options(value jsonb) returns boolean
language sql immutable parallel safe
return value::text ~ '^\[[0-9, ]*\]$';
comment on function pipeline.are_plain_options(jsonb) is
    'True for a list of whole numbers.';

create or replace function pipeline.is_plain_address(value jsonb) returns boolean
language sql immutable parallel safe
return value ->> 'value' <> ''
    and not jsonb_path_exists(
        value, 'strict $.* ? (@.type() == "object" || @.type() == "array")', '{}', true
    );
comment on function pipeline.is_plain_address(jsonb) is
    'True for an object with the part value and no part that has parts; null for no object.';

create or replace function pipeline.contact_point(entry jsonb) returns jsonb
language plpgsql immutable parallel safe
as $$
declare
    value jsonb := case jsonb_typeof(entry) when 'object' then entry -> 'value' else entry end;
    written text;
    is_primary boolean;
begin
    if jsonb_typeof(value) in ('string', 'number') then
        written := pipeline.filled(value #>> '{}');
    end if;
    if written is null then
        return null;
    elsif jsonb_typeof(entry) <> 'object' then
        return jsonb_build_object('value', written);
    elsif jsonb_typeof(value) = 'number' then
        entry := entry || jsonb_build_object('value', written);
    end if;
    if jsonb_typeof(entry -> 'primary') in ('string', 'number') then
        is_primary := pipeline.as_boolean(entry -> 'primary');
        if is_primary is not null then
            entry := entry || jsonb_build_object('primary', is_primary);
        end if;
    end if;
    return entry;
end
$$;
comment on function pipeline.contact_point(jsonb) is
    'One e-mail address or phone number as an object with a text value; null where it has none.';

create or replace function pipeline.contact_points(value jsonb) returns jsonb
language plpgsql immutable parallel safe
as $$
declare
    entries jsonb := case jsonb_typeof(value) when 'array' then value else jsonb_build_array(value) end;
    entry jsonb;
begin
    if value is null or value in ('[]', 'null') then
        return '[]';
    elsif jsonb_array_length(entries) = 1 then
        entry := pipeline.contact_point(entries -> 0);
        return case when entry is null then '[]' else jsonb_build_array(entry) end;
    end if;
    return (
        select coalesce(jsonb_agg(understood.point order by understood.position asc), '[]')
        from (
            select
                pipeline.contact_point(sent.item) as point,
                sent.position
            from jsonb_array_elements(entries) with ordinality as sent (item, position)
        ) as understood
        where understood.point is not null
    );
end
$$;
comment on function pipeline.contact_points(jsonb) is
    'E-mail addresses or phone numbers as a list of objects with a text value, of a list of texts or '
    'objects, one object or one text; entries without a value are left out.';

create or replace function pipeline.as_option(entry jsonb) returns text
language plpgsql immutable parallel safe
as $$
begin
    if jsonb_typeof(entry) = 'object' then
        return coalesce(
            pipeline.as_option(coalesce(nullif(entry -> 'id', 'null'), nullif(entry -> 'value', 'null'))),
            pipeline.filled(pipeline.as_text(entry -> 'label')),
            pipeline.filled(pipeline.as_text(entry -> 'name'))
        );
    elsif jsonb_typeof(entry) in ('string', 'number') then
        return coalesce(pipeline.as_bigint(entry)::text, pipeline.filled(entry #>> '{}'));
    end if;
    return null;
end
$$;
comment on function pipeline.as_option(jsonb) is
    'The id of one option as text, of an id or of an object with one; else the object''s label.';

create or replace function pipeline.as_options(value jsonb) returns text[]
language plpgsql immutable parallel safe
as $$
declare
    written text := value::text;
begin
    if value is null or value in ('[]', 'null') then
        return '{}';
    elsif written ~ '^\[[1-9][0-9]{0,17}(, [1-9][0-9]{0,17})*\]$' then
        return translate(written, '[] ', '{}')::text[];
    elsif jsonb_typeof(value) = 'string'
        and value #>> '{}' ~ '^ *[0-9]{1,18} *(, *[0-9]{1,18} *)*$' then
        return string_to_array(replace(value #>> '{}', ' ', ''), ',')::bigint[]::text[];
    elsif jsonb_typeof(value) <> 'array' then
        return array_remove(array[pipeline.as_option(value)], null);
    end if;
    return array(
        select understood.id
        from (
            select
                pipeline.as_option(sent.item) as id,
                sent.position
            from jsonb_array_elements(value) with ordinality as sent (item, position)
        ) as understood
        where understood.id is not null
        order by understood.position asc
    );
end
$$;
comment on function pipeline.as_options(jsonb) is
    'The ids of options as texts, in their order: of a list, of one id, or of text such as "12,15".';

create or replace function pipeline.address_parts(value jsonb) returns jsonb
language plpgsql immutable parallel safe
as $$
declare
    kind text := jsonb_typeof(value);
    parts jsonb;
begin
    if kind = 'object' then
        parts := (
            select jsonb_object_agg(part.name, part.item #>> '{}')
            from jsonb_each(value) as part (name, item)
            where jsonb_typeof(part.item) in ('string', 'number', 'boolean')
                and pipeline.filled(part.item #>> '{}') is not null
        );
        if parts ->> 'value' is null and parts ->> 'formatted_address' is not null then
            return parts || jsonb_build_object('value', parts -> 'formatted_address');
        end if;
    elsif kind in ('string', 'number') and pipeline.filled(value #>> '{}') is not null then
        parts := jsonb_build_object('value', value #>> '{}');
    end if;
    return parts;
end
$$;
comment on function pipeline.address_parts(jsonb) is
    'The parts of an address that are filled texts; a text alone is its part value; null for none.';

create or replace function pipeline.plain_text(html text) returns text
language plpgsql immutable parallel safe
as $$
declare
    written text := html;
begin
    if written ~ '[<&]' then
        written := regexp_replace(
            written, '<(br|/p|/div|/li|/tr|/h[1-6])\M[^>]*>', E'\n', 'gi'
        );
        written := regexp_replace(written, '<(/?[a-z]|!--)[^>]*>', '', 'gi');
        written := regexp_replace(written, '&(nbsp|#160);', ' ', 'gi');
        written := replace(replace(written, '&lt;', '<'), '&gt;', '>');
        written := replace(replace(written, '&quot;', '"'), '&#39;', '''');
        written := replace(written, '&amp;', '&'); -- last, so that `&amp;lt;` stays `&lt;`
    end if;
    return nullif(btrim(written, E' \t\r\n'), '');
end
$$;
comment on function pipeline.plain_text(text) is
    'The text of HTML: without tags, with line breaks, the usual entities as characters.';

create or replace function pipeline.has_parts(value jsonb) returns boolean
language plpgsql immutable parallel safe
as $$
begin
    return jsonb_typeof(value) in ('object', 'array') and not pipeline.is_empty(value);
end
$$;
comment on function pipeline.has_parts(jsonb) is
    'True for a list or an object that says something.';

create or replace function pipeline.has_parts_of_parts(value jsonb) returns boolean
language plpgsql immutable parallel safe
as $$
begin
    if jsonb_typeof(value) = 'object' then
        return exists (
            select
            from jsonb_each(value) as part (name, item)
            where pipeline.has_parts(part.item)
        );
    end if;
    return false;
end
$$;
comment on function pipeline.has_parts_of_parts(jsonb) is
    'True for an object with a part that is a list or an object and says something.';
