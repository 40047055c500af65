import { expect, test } from 'vitest'
import { parseListFile, parseNetworkList, withPlugins } from '../../src/libcni/conflist.ts'

const parse = (value: object): ReturnType<typeof parseNetworkList> => parseNetworkList(JSON.stringify(value), 'x.conf')
const base = { name: 'n', plugins: [{ type: 'a' }] }

test.each([
  [{}, '0.1.0'],
  [{ cniVersion: '' }, '0.1.0'],
  [{ cniVersion: '0.4.0' }, '0.4.0'],
  [{ cniVersion: '0.4.0', cniVersions: ['0.3.1', '1.1.0', '1.0.0', '2.0.0'] }, '1.1.0'],
  [{ cniVersions: ['0.3.1', '0.4.0'] }, '0.4.0'],
  [{ cniVersion: '7.0.0', cniVersions: ['1.0.0'] }, '1.0.0'],
])('the version of %j is %s', (said, version) => expect(parse({ ...base, ...said }).cniVersion).toBe(version))

test.each([
  [
    { disableCheck: 'True', disableGC: true },
    { disableCheck: true, disableGC: true },
  ],
  [{ disableCheck: 'false', disableGC: false }, {}],
])('switches %j', (said, expected) => {
  const { disableCheck, disableGC } = parse({ ...base, ...said })
  expect({ disableCheck, disableGC }).toEqual(expected)
})

test.each([
  [{ ...base, name: undefined }, 'x.conf: name: must be given'],
  [{ ...base, name: 'a/b' }, 'x.conf: name: must be letters, digits, "_", "." and "-", not "a/b"'],
  [{ ...base, cniVersion: 'v1' }, 'x.conf: cniVersion: must be a version'],
  [{ ...base, cniVersions: ['1.0.0', '1'] }, 'x.conf: cniVersions.1: must be a version'],
  [{ ...base, cniVersion: '9.0.0', cniVersions: ['8.0.0'] }, 'cniVersion "9.0.0", "8.0.0": known are 0.1.0, '],
  [{ ...base, disableGC: 'maybe' }, 'x.conf: disableGC: must be true or false'],
  [{ ...base, plugins: [] }, 'x.conf: plugins: must not be empty'],
  [{ ...base, plugins: [{ type: 'a' }, {}] }, 'x.conf: plugins.1.type: must be given'],
  [{ ...base, plugins: [{ type: '../a' }] }, 'x.conf: plugins.0.type: must be the name of a plugin'],
  [{ ...base, plugins: [{ type: 'a', capabilities: { mac: 'yes' } }] }, 'x.conf: plugins.0.capabilities.mac'],
  [{ name: 'n', loadOnlyInlinedPlugins: true }, 'x.conf: loadOnlyInlinedPlugins: there are no plugins'],
  [{ name: 'n' }, 'x.conf: has neither plugins nor a type'],
  [[], 'x.conf: Invalid input'],
])('%j is refused', (value, message) => expect(() => parse(value)).toThrow(message))

test('a file of one plugin is a list of one, and takes nothing from a folder', () => {
  const file = parseListFile('{"cniVersion":"0.4.0","name":"n","type":"a","mark":1}', 'x.conf')
  expect(file).toMatchObject({ takesFolder: false, list: { name: 'n', cniVersion: '0.4.0' } })
  expect(file.list.plugins).toMatchObject([{ type: 'a', mark: 1 }])
})

test('plugins beside a list come after its own', () => {
  const { list, takesFolder } = parseListFile(JSON.stringify(base), 'x.conflist')
  expect(takesFolder).toBe(true)
  expect(withPlugins(list, [{ file: 'n/1.conf', content: '{"type":"b"}' }]).plugins).toEqual([
    { type: 'a' },
    { type: 'b' },
  ])
  expect(() => withPlugins(list, [{ file: 'n/1.conf', content: '{"typo":"b"}' }])).toThrow('n/1.conf: type: must be')
  expect(parseListFile(JSON.stringify({ ...base, loadOnlyInlinedPlugins: 'TRUE' }), 'x').takesFolder).toBe(false)
})
