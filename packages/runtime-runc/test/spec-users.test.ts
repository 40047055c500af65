import { LinuxContainerSecurityContext } from '@nodelet/cri-api'
import type { DeepPartial } from '@nodelet/cri-api'
import { expect, test } from 'vitest'
import { resolveUser } from '../src/index.ts'

const passwd = 'root:x:0:0:root:/root:/bin/sh\nbroken\nweb:x:1000:1001::/:\nbad:x:nan:1::/:\n# note:x:5:5\n'
const group = 'root:x:0:\nweb:x:1001:web\nlogs:x:50:web,root\nwheel:x:10:web\nbroken:x\n'

type Context = DeepPartial<LinuxContainerSecurityContext>
const resolve = (context: Context, imageUser = '', files = { passwd, group }) =>
  resolveUser(LinuxContainerSecurityContext.fromPartial(context), imageUser, files.passwd, files.group)

test.each<[string, Context, string, number, number, number[]]>([
  ['nothing is root', {}, '', 0, 0, [0, 50]],
  ['image name', {}, 'web', 1000, 1001, [1001, 10, 50]],
  ['image name and group', {}, 'web:logs', 1000, 50, [10, 50]],
  ['image number found', {}, '1000', 1000, 1001, [1001, 10, 50]],
  ['image number not found', {}, '4242', 4242, 0, [0]],
  ['image numbers', {}, '7:8', 7, 8, [8]],
  ['run_as_user drops the image group', { runAsUser: { value: 1000n } }, 'root:logs', 1000, 1001, [1001, 10, 50]],
  ['run_as_group', { runAsUser: { value: 5n }, runAsGroup: { value: 6n } }, '', 5, 6, [6]],
  ['run_as_username wins', { runAsUsername: 'web', runAsUser: { value: 0n } }, '', 1000, 1001, [1001, 10, 50]],
  ['supplemental groups, sorted', { supplementalGroups: [9n, 3n, 9n] }, '4242', 4242, 0, [0, 3, 9]],
  [
    'strict leaves the image groups out',
    { supplementalGroups: [9n], supplementalGroupsPolicy: 1 },
    'web',
    1000,
    1001,
    [1001, 9],
  ],
])('%s', (_, context, imageUser, uid, gid, additionalGids) => {
  expect(resolve(context, imageUser)).toEqual({ uid, gid, additionalGids })
})

test('without files numbers work and names do not', () => {
  const none = { passwd: '', group: '' }
  expect(resolve({}, '12', none)).toEqual({ uid: 12, gid: 0, additionalGids: [0] })
  expect(() => resolve({}, 'web', none)).toThrow('no users found')
})

test.each<[string, Context, string, string]>([
  ['a group without user', { runAsGroup: { value: 1n } }, '', 'is specified without user'],
  ['an unknown group', {}, 'web:nope', 'no groups found'],
  ['a negative user', { runAsUser: { value: -1n } }, '', 'out of range'],
  ['a number too large', {}, '4294967296', 'out of range'],
  ['a malformed line is no user', {}, 'bad', 'no users found'],
  ['an unknown policy', { supplementalGroupsPolicy: -1 }, '', 'is unknown'],
])('%s is refused', (_, context, imageUser, message) => {
  expect(() => resolve(context, imageUser)).toThrow(message)
})
