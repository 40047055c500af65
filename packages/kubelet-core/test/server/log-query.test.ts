// What is asked of the node's logs, and what journalctl is asked for it.
import fc from 'fast-check'
import { expect, it, test } from 'vitest'
import { HttpError } from '../../src/server/http-error.ts'
import { journalArguments, parseLogQuery } from '../../src/server/log-query.ts'

const parse = (query: string) => parseLogQuery(new URLSearchParams(query))

test.each<[string, object | undefined]>([
  ['', undefined],
  ['other=1', undefined],
  ['sinceTime=', undefined],
  ['query=kubelet', { services: ['kubelet'], options: {} }],
  ['query=a&query=b@1.service', { services: ['a', 'b@1.service'], options: {} }],
  ['query=/nested/one.log', { services: [], file: '/nested/one.log', options: {} }],
  [String.raw`query=nested\one.log`, { services: [], file: 'nested/one.log', options: {} }],
  [
    'query=a&sinceTime=2026-01-02T03:04:05Z&untilTime=2026-01-02T05:04:05.5%2B01:00&tailLines=0&boot=-2&pattern=%28%3Fi%29x',
    {
      services: ['a'],
      options: {
        sinceMs: Date.UTC(2026, 0, 2, 3, 4, 5),
        untilMs: Date.UTC(2026, 0, 2, 4, 4, 5, 500),
        tailLines: 0,
        boot: -2,
        pattern: '(?i)x',
      },
    },
  ],
  ['query=a&pattern=(?P<name>[[:alpha:]]%2B)(?s-i:y)', { services: ['a'], options: { pattern: expect.any(String) } }],
])('%j asks for %j', (query, asked) => expect(parse(query)).toEqual(asked))

test.each<[string, number, string]>([
  ['query=', 400, 'query: Invalid value: [""]: query cannot be empty'],
  ['query=%20&query=', 400, 'query: Invalid value: [" ",""]: query cannot be empty'],
  ['query=a&sinceTime=yesterday', 400, 'sinceTime: Invalid value: "yesterday": invalid time format'],
  [
    'query=a&untilTime=1&boot=x',
    400,
    '[untilTime: Invalid value: "1": invalid time format, boot: Invalid value: "x": is not an integer]',
  ],
  ['query=a&tailLines=1.5', 400, 'tailLines: Invalid value: "1.5": is not an integer'],
  ['tailLines=5', 406, 'query: Required value: cannot be empty with options'],
  ['query=a&query=/b', 406, 'query: Invalid value: ["/b","a"]: cannot specify a file and service'],
  ['query=/a&query=/b', 406, 'query: Invalid value: ["/a","/b"]: cannot specify more than one file'],
  ['query=/a&boot=0', 406, 'query: Invalid value: ["/a"]: cannot specify file with options'],
  ['query=a%20b', 406, 'query: Invalid value: "a b": input contains unsupported characters'],
  ['query=a*', 406, 'query: Invalid value: "a*": input contains unsupported characters'],
  [`query=${'a'.repeat(257)}`, 406, `query: Invalid value: "${'a'.repeat(257)}": length must be at most 256`],
  ['query=a&query=b&query=c&query=d&query=e', 406, 'query: Too many: 5: must have at most 4 items'],
  [
    'query=a&sinceTime=2026-01-02T03:04:05Z&untilTime=2026-01-02T03:04:04Z',
    406,
    'untilTime: Invalid value: "2026-01-02T03:04:04Z": must be after `sinceTime`',
  ],
  ['query=a&boot=1', 406, 'boot: Invalid value: 1: must be less than 1'],
  ['query=a&tailLines=-1', 406, 'tailLines: Invalid value: -1: must be between 0 and 100000, inclusive'],
  ['query=a&tailLines=100001', 406, 'tailLines: Invalid value: 100001: must be between 0 and 100000, inclusive'],
  ['query=a&pattern=%28', 406, 'pattern: Invalid value: "(": is not a regular expression'],
  ['query=a&pattern=x%00', 406, String.raw`pattern: Invalid value: "x\u0000": is not a regular expression`],
])('%j is refused', (query, status, message) => {
  expect(() => parse(query)).toThrow(new HttpError(status, message))
  expect(() => parse(query)).toThrow(expect.objectContaining({ status }) as Error)
})

it('asks the journal for units, times in UTC, lines, a pattern and a boot', () => {
  expect(journalArguments(['a'], {})).toEqual(['--utc', '--no-pager', '--output=short-precise', '--unit=a'])
  const options = { sinceMs: 0, untilMs: 1500, tailLines: 5, boot: -1, pattern: '--user' }
  expect(journalArguments(['a', 'b'], options).slice(3)).toEqual([
    '--since=1970-01-01 00:00:00.000 UTC',
    '--until=1970-01-01 00:00:01.500 UTC',
    '--lines=5',
    '--unit=a',
    '--unit=b',
    '--grep=--user',
    '--boot=-1',
  ])
})

it('lets nothing through that journalctl could take for an option, a pattern or another unit', () => {
  const text = fc.oneof(fc.string({ unit: 'binary' }), fc.stringMatching(/^[-a-z@.:_*=[\]]{1,8}$/))
  fc.assert(
    fc.property(text, text, (name, pattern) => {
      const params = new URLSearchParams([
        ['query', name],
        ['pattern', pattern],
      ])
      let asked: ReturnType<typeof parseLogQuery>
      try {
        asked = parseLogQuery(params)
      } catch (error) {
        expect(error).toBeInstanceOf(HttpError)
        return
      }
      for (const one of journalArguments(asked?.services ?? [], asked?.options ?? {})) {
        expect(one).toMatch(/^--(utc|no-pager|output=short-precise|unit=[\w@.:-]+|grep=[^\0]+)$/)
      }
    }),
  )
})
