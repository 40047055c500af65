// Where the answer differs from the recorded one on purpose, and why. By file and step.
const furniture = 'every namespace has its default account from the beginning'
const goDiff = 'the text of the difference is that of Go structs'
const recorder = 'the recorded cluster had a policy, an address range or events of its own'
const renewed = 'the recording read the lease after its renewal'
const wording = 'the parser of selectors words its own error'
const twice = 'the recorded server reports the same cause twice'
const outside = 'this subresource is not served'

export const knownDifferences: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  crud: { '1 POST': furniture, '17 broken JSON': 'names the place of the mistake as this parser finds it' },
  pods: {
    '1 POST': furniture,
    '16 immutable field change': goDiff,
    '21 ephemeral container': outside,
    '22 resize': outside,
    '20 status patch, uid differs': twice,
    '26 bad label selector': wording,
  },
  services: { '1 POST': furniture },
  nodes: {
    '0 register': recorder,
    '2 status': recorder,
    '3 cordon': recorder,
    '6 GET': renewed,
    '9 GET': recorder,
    '10 proxy to a kubelet that is not there': 'a node is reached by its address, not by a name to look up',
  },
  auth: { '1 POST': furniture, '8 POST': recorder, '10 POST': 'another user' },
}
