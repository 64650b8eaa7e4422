export default () => null; export const editor = {}, languages = {}, loader = { config() {} };
